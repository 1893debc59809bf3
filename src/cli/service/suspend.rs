//! `lerianctl service suspend`.

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

/// Refuse a tenant in one service, keeping its data
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl service suspend tracer --tenant acme")]
pub struct SuspendArgs {
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

/// Suspends an association.
pub fn suspend(run: &Invocation, args: &SuspendArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "service suspend",
            tenant: &tenant,
            text: format!("Suspend {} for tenant {tenant}", args.service),
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
                    .service_change(&tenant, &service, ServiceAction::Suspend, &request)
                    .await
            }
        },
    )
}
