//! `lerianctl tenant suspend`.

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

/// Refuse a tenant everywhere, keeping its data
///
/// Products are answered 403 from then on, and are told by events to close their pools.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl tenant suspend acme\n  lerianctl tenant suspend acme --reason 'unpaid since June' --yes"
)]
pub struct SuspendArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Reason, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    consent: Consent,
}

/// Suspends a tenant.
pub fn suspend(run: &Invocation, args: &SuspendArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "tenant suspend",
            tenant: &tenant,
            text: format!("Suspend tenant {tenant} for every service"),
            consent: &args.consent,
            confirmed: None,
            wait: None,
        },
        |manager, mode| {
            let request = ChangeRequest {
                reason: args.reason.clone(),
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..ChangeRequest::default()
            };
            let tenant = tenant.clone();
            async move {
                manager
                    .change(&tenant, TenantAction::Suspend, &request)
                    .await
            }
        },
    )
}
