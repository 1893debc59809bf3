//! `lerianctl service add`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, Wait, execute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::cli::values::{PoolArgs, isolation};
use crate::contract::ServiceName;
use crate::contract::admin::AddServiceRequest;
use crate::contract::ids::TenantRef;
use crate::contract::wire::IsolationMode;

/// Associate a tenant with a service and provision its databases
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl service add tracer --tenant acme\n  lerianctl service add ledger --tenant acme --isolation database --max-open-conns 10"
)]
pub struct AddArgs {
    /// Service
    #[arg(add = ArgValueCandidates::new(complete::services))]
    service: ServiceName,

    /// Tenant slug or id
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Isolation mode; the tenant's own when absent
    #[arg(long, value_name = "MODE", value_parser = isolation)]
    isolation: Option<IsolationMode>,

    #[command(flatten)]
    pool: PoolArgs,

    /// Accept an isolation mode in which the service is known not to work
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    wait: Wait,
}

/// Adds an association.
pub fn add(run: &Invocation, args: &AddArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    let settings = args.pool.settings()?;
    execute(
        run,
        &Asked {
            command: "service add",
            tenant: &tenant,
            text: format!("Associate tenant {tenant} with {}", args.service),
            consent: &args.consent,
            confirmed: None,
            wait: Some(&args.wait),
        },
        |manager, mode| {
            let request = AddServiceRequest {
                isolation_mode: args.isolation,
                connection_settings: settings.clone(),
                force: args.force,
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
            };
            let (tenant, service) = (tenant.clone(), args.service.clone());
            async move { manager.add_service(&tenant, &service, &request).await }
        },
    )
}
