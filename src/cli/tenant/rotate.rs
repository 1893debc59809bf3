//! `lerianctl tenant rotate`.

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, Wait, execute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::client::TenantAction;
use crate::contract::ServiceName;
use crate::contract::admin::ChangeRequest;
use crate::contract::ids::TenantRef;

/// Give a tenant new database logins without a failed connection
///
/// The idle login gets a new password and is tried; then it is handed out and the products are
/// told; the old login stays valid for the grace period and is then retired by the server.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl tenant rotate acme\n  lerianctl tenant rotate acme --service ledger --grace 10m --yes"
)]
pub struct RotateArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Only this service
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Option<ServiceName>,

    /// How long the old login stays valid; the server's own setting when absent
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    wait: Wait,
}

/// Rotates a tenant's logins.
pub fn rotate(run: &Invocation, args: &RotateArgs) -> Result<ChangeReport, Failure> {
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "tenant rotate",
            tenant: &tenant,
            text: format!("Rotate the logins of tenant {tenant}"),
            consent: &args.consent,
            confirmed: None,
            wait: Some(&args.wait),
        },
        |manager, mode| {
            let request = ChangeRequest {
                service: args.service.clone(),
                grace_seconds: args.grace.map(|grace| grace.as_secs().max(1)),
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..ChangeRequest::default()
            };
            let tenant = tenant.clone();
            async move {
                manager
                    .change(&tenant, TenantAction::Rotate, &request)
                    .await
            }
        },
    )
}
