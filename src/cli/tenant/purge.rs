//! `lerianctl tenant purge`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, Wait, execute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::TenantAction;
use crate::contract::admin::ChangeRequest;
use crate::contract::ids::TenantRef;

/// Remove a tenant with all of its data
///
/// Cannot be undone. Products are refused and told first, then logins, data and roles are
/// removed; only what carries this tenant's ownership mark is touched.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl tenant purge acme --dry-run\n  lerianctl tenant purge acme --yes --confirm acme"
)]
pub struct PurgeArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Slug of the tenant again, for scripts
    #[arg(long, value_name = "SLUG")]
    confirm: Option<String>,

    /// Reason, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    wait: Wait,
}

/// Purges a tenant.
pub fn purge(run: &Invocation, args: &PurgeArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "tenant purge",
            tenant: &tenant,
            text: format!("Purge tenant {tenant} with all of its data"),
            consent: &args.consent,
            confirmed: args.confirm.as_deref(),
            wait: Some(&args.wait),
        },
        |manager, mode| {
            let request = ChangeRequest {
                drop_data: true,
                reason: args.reason.clone(),
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..ChangeRequest::default()
            };
            let tenant = tenant.clone();
            async move { manager.change(&tenant, TenantAction::Purge, &request).await }
        },
    )
}
