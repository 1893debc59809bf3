//! `lerianctl tenant update`.

use clap::{ArgAction, Args};
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, execute};
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::cli::values::{PoolArgs, pair};
use crate::contract::admin::UpdateTenantRequest;
use crate::contract::ids::TenantRef;
use crate::contract::wire::ConnectionSettings;

/// Change a tenant's name, metadata, owner or pool settings
///
/// What is not named stays. Slug and id never change.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl tenant update acme --name 'Acme Brasil'\n  lerianctl tenant update acme --metadata plan=gold --remove-metadata trial\n  lerianctl tenant update acme --max-open-conns 10"
)]
pub struct UpdateArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// New display name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Text to keep with the tenant; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, action = ArgAction::Append)]
    metadata: Vec<(String, String)>,

    /// Key to remove from the metadata; may be repeated
    #[arg(long, value_name = "KEY", action = ArgAction::Append)]
    remove_metadata: Vec<String>,

    /// New e-mail address of the owner
    #[arg(long, value_name = "ADDRESS")]
    owner_email: Option<String>,

    #[command(flatten)]
    pool: PoolArgs,

    #[command(flatten)]
    consent: Consent,
}

/// Updates a tenant.
pub fn update(run: &Invocation, args: &UpdateArgs) -> Result<ChangeReport, Failure> {
    let settings = args.pool.settings()?;
    let mut request = UpdateTenantRequest {
        name: args.name.clone(),
        metadata: args.metadata.iter().cloned().collect(),
        owner_email: args.owner_email.clone(),
        connection_settings: (settings != ConnectionSettings::default()).then_some(settings),
        dry_run: false,
        expect_plan: None,
    };
    for key in &args.remove_metadata {
        request.metadata.insert(key.clone(), String::new());
    }
    if request == UpdateTenantRequest::default() {
        return Err(
            Failure::new(Kind::Usage, "input.nothing", "nothing to change was named")
                .hint_command("see what can be changed", "lerianctl tenant update --help"),
        );
    }
    let tenant = args.tenant.to_string();
    execute(
        run,
        &Asked {
            command: "tenant update",
            tenant: &tenant,
            text: format!("Update tenant {tenant}"),
            consent: &args.consent,
            confirmed: None,
            wait: None,
        },
        |manager, mode| {
            let request = UpdateTenantRequest {
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..request.clone()
            };
            let tenant = tenant.clone();
            async move { manager.update_tenant(&tenant, &request).await }
        },
    )
}
