//! `lerianctl service reactivate`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, execute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::ServiceAction;
use crate::contract::ServiceName;
use crate::contract::admin::ChangeRequest;
use crate::contract::ids::TenantRef;

/// Serve a tenant in a suspended service again
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl service reactivate tracer --tenant acme")]
pub struct ReactivateArgs {
    /// Service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    service: ServiceName,

    /// Tenant slug or id
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Reason, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    consent: Consent,
}

/// Reactivates an association.
pub fn reactivate(run: &Invocation, args: &ReactivateArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "service reactivate",
            tenant: &tenant,
            text: format!("Reactivate {} for tenant {tenant}", args.service),
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
            let (tenant, service) = (tenant.clone(), args.service.clone());
            async move {
                manager
                    .service_change(&tenant, &service, ServiceAction::Reactivate, &request)
                    .await
            }
        },
    )
}
