//! `lerianctl tenant create`.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use clap_complete::engine::ArgValueCandidates;

use crate::cli::approve::Consent;
use crate::cli::change::{Asked, ChangeReport, Wait, execute};
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::cli::values::{PoolArgs, isolation, pair};
use crate::contract::admin::CreateTenantRequest;
use crate::contract::wire::{IsolationMode, Owner};
use crate::contract::{ServiceName, Slug, TenantId};

/// What bcrypt takes; it would silently ignore the rest.
const BCRYPT_BYTES: usize = 72;

/// Create a tenant, associate it with services and provision its databases, in one go
///
/// The same call again changes nothing; with another specification it is refused.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl tenant create 'Banco Aurora' --service tracer --service ledger\n  lerianctl tenant create Sol --environment staging --service ledger --isolation schema --force\n  lerianctl tenant create Acme --owner-email owner@acme.example --owner-password-file - < password.txt"
)]
pub struct CreateArgs {
    /// Display name, 1 to 256 characters
    name: String,

    /// Human handle; made from the name when absent
    #[arg(long, value_name = "SLUG")]
    slug: Option<Slug>,

    /// Tenant id to use, 32 hexadecimal digits; made when absent
    #[arg(long, value_name = "ID")]
    id: Option<TenantId>,

    /// Environment; events reach products only in `production` and `staging`
    /// [default: of the configuration, else production]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,

    /// Service to associate and provision; may be repeated
    #[arg(long, value_name = "NAME", action = ArgAction::Append, add = ArgValueCandidates::new(complete::services))]
    service: Vec<ServiceName>,

    /// `database`: a database per module; `schema`: a schema in a shared database
    #[arg(long, value_name = "MODE", default_value = "database", value_parser = isolation)]
    isolation: IsolationMode,

    /// Text kept with the tenant; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, action = ArgAction::Append)]
    metadata: Vec<(String, String)>,

    /// E-mail address of the owner
    #[arg(long, value_name = "ADDRESS")]
    owner_email: Option<String>,

    /// File with the owner's password, `-` for standard input; only its bcrypt hash is sent
    #[arg(long, value_name = "FILE", requires = "owner_email")]
    owner_password_file: Option<PathBuf>,

    /// Ask for the owner's password on the terminal; only its bcrypt hash is sent
    #[arg(long, requires = "owner_email", conflicts_with = "owner_password_file")]
    ask_owner_password: bool,

    #[command(flatten)]
    pool: PoolArgs,

    /// Accept an isolation mode in which the service is known not to work
    #[arg(long)]
    force: bool,

    /// Fail when the tenant exists already
    #[arg(long)]
    fail_if_exists: bool,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    wait: Wait,
}

/// Creates, associates and provisions.
pub fn create(run: &Invocation, args: &CreateArgs) -> Result<ChangeReport, Failure> {
    let request = CreateTenantRequest {
        name: args.name.clone(),
        slug: args.slug.as_ref().map(ToString::to_string),
        id: args.id.as_ref().map(ToString::to_string),
        environment: environment(run, args)?,
        isolation_mode: args.isolation,
        services: args.service.clone(),
        metadata: args.metadata.iter().cloned().collect(),
        owner: Owner {
            email: args.owner_email.clone().unwrap_or_default(),
            password_hash: owner_password_hash(run, args)?,
            email_verified: false,
        },
        connection_settings: args.pool.settings()?,
        force: args.force,
        dry_run: false,
        expect_plan: None,
    };
    let label = crate::output::table::cut(&crate::output::view::one_line(&args.name), 60);
    let report = execute(
        run,
        &Asked {
            command: "tenant create",
            tenant: &label,
            text: format!("Create tenant {label}"),
            consent: &args.consent,
            confirmed: None,
            wait: Some(&args.wait),
        },
        |manager, mode| {
            let request = CreateTenantRequest {
                dry_run: mode.dry_run,
                expect_plan: mode.expect_plan,
                ..request.clone()
            };
            async move { manager.create_tenant(&request).await }
        },
    )?;
    if args.fail_if_exists && !report.change.changed {
        return Err(Failure::new(
            Kind::Conflict,
            "tenant.exists",
            format!("tenant `{label}` exists already"),
        ));
    }
    Ok(report)
}

/// Returns the environment as given, as configured, or the one that products assume.
fn environment(run: &Invocation, args: &CreateArgs) -> Result<String, Failure> {
    if let Some(name) = &args.environment {
        return Ok(name.clone());
    }
    let configured = run.config()?.environment()?;
    Ok(configured.map_or_else(
        || "production".to_owned(),
        |environment| environment.value.to_string(),
    ))
}

/// Returns the bcrypt hash of the owner's password, or nothing when there is none.
fn owner_password_hash(run: &Invocation, args: &CreateArgs) -> Result<String, Failure> {
    let password = if let Some(path) = &args.owner_password_file {
        run.read_secret(path, "the owner's password")?
    } else if args.ask_owner_password {
        if !run.may_prompt() {
            return Err(Failure::new(
                Kind::Usage,
                "input.no_terminal",
                "`--ask-owner-password` needs a terminal",
            )
            .hint(
                "give the password with `--owner-password-file FILE` or `--owner-password-file -`",
            ));
        }
        run.ask_secret("Password of the owner", true)?
    } else {
        return Ok(String::new());
    };
    let bytes = password.expose().len();
    if bytes == 0 || bytes > BCRYPT_BYTES || password.expose().contains('\0') {
        return Err(Failure::new(
            Kind::Usage,
            "input.password",
            format!(
                "the owner's password has {bytes} bytes; bcrypt takes 1 to {BCRYPT_BYTES}, without NUL"
            ),
        ));
    }
    bcrypt::hash(password.expose(), bcrypt::DEFAULT_COST).map_err(|error| {
        Failure::new(
            Kind::Internal,
            "internal",
            "the owner's password could not be hashed",
        )
        .cause(error)
    })
}
