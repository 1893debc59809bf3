//! `lerianctl service remove`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, Wait, execute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::ServiceAction;
use crate::contract::ServiceName;
use crate::contract::admin::ChangeRequest;
use crate::contract::ids::TenantRef;

/// End a tenant's association with a service, with its data or without
///
/// Without `--drop-data` only the logins are closed, and adding the service again finds the data.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl service remove tracer --tenant acme --dry-run\n  lerianctl service remove tracer --tenant acme --drop-data --yes --confirm acme"
)]
pub struct RemoveArgs {
    /// Service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    service: ServiceName,

    /// Tenant slug or id
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Drop the databases or schemas too; cannot be undone
    #[arg(long)]
    drop_data: bool,

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

/// Removes an association.
pub fn remove(run: &Invocation, args: &RemoveArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    let what = if args.drop_data {
        "with its data"
    } else {
        "and keep its data"
    };
    execute(
        run,
        &Asked {
            command: "service remove",
            tenant: &tenant,
            text: format!("Remove {} from tenant {tenant} {what}", args.service),
            consent: &args.consent,
            confirmed: args.confirm.as_deref(),
            wait: Some(&args.wait),
        },
        |manager, mode| {
            let request = ChangeRequest {
                drop_data: args.drop_data,
                reason: args.reason.clone(),
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..ChangeRequest::default()
            };
            let (tenant, service) = (tenant.clone(), args.service.clone());
            async move {
                manager
                    .service_change(&tenant, &service, ServiceAction::Remove, &request)
                    .await
            }
        },
    )
}
