//! `lerianctl tenant reactivate`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, execute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::TenantAction;
use crate::contract::admin::ChangeRequest;
use crate::contract::ids::TenantRef;

/// Serve a suspended tenant again
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl tenant reactivate acme")]
pub struct ReactivateArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    #[command(flatten)]
    consent: Consent,
}

/// Reactivates a tenant.
pub fn reactivate(run: &Invocation, args: &ReactivateArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "tenant reactivate",
            tenant: &tenant,
            text: format!("Reactivate tenant {tenant}"),
            consent: &args.consent,
            confirmed: None,
            wait: None,
        },
        |manager, mode| {
            let request = ChangeRequest {
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..ChangeRequest::default()
            };
            let tenant = tenant.clone();
            async move {
                manager
                    .change(&tenant, TenantAction::Reactivate, &request)
                    .await
            }
        },
    )
}
