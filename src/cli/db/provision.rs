//! `lerianctl db provision`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, Wait, execute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::TenantAction;
use crate::contract::ServiceName;
use crate::contract::admin::ChangeRequest;
use crate::contract::ids::TenantRef;

/// Finish or repair the databases of a tenant
///
/// Runs every step again that is not known to be done: after a failed operation, or after
/// somebody changed roles or privileges by hand. Credentials that products hold stay valid.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl db provision acme --dry-run\n  lerianctl db provision acme --service ledger"
)]
pub struct ProvisionArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Only this service
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Option<ServiceName>,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    wait: Wait,
}

/// Provisions what is missing.
pub fn provision(run: &Invocation, args: &ProvisionArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "db provision",
            tenant: &tenant,
            text: format!("Provision the databases of tenant {tenant}"),
            consent: &args.consent,
            confirmed: None,
            wait: Some(&args.wait),
        },
        |manager, mode| {
            let request = ChangeRequest {
                service: args.service.clone(),
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..ChangeRequest::default()
            };
            let tenant = tenant.clone();
            async move {
                manager
                    .change(&tenant, TenantAction::Provision, &request)
                    .await
            }
        },
    )
}
