//! `lerianctl key create`.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args};

use super::{KeyCreatedReport, announce};
use crate::cli::approve::{Consent, Question};
use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::contract::keys::CreateKeyRequest;
use crate::contract::permission::Role;
use crate::contract::{Environment, ServiceName};

/// Make a key; its text is shown once
///
/// The text goes to standard output alone, and is nowhere kept. A key of role `service` reads the
/// connections of the named services and nothing else; the other roles are for operators and CI:
/// `read-only` looks at everything but credentials, `operator` changes what can be undone,
/// `break-glass` may do everything, and every use of it is logged loudly.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl key create ledger-production --service ledger --environment production > ledger.key\n  lerianctl key create deploy --role operator --expires-in 2160h -o json | jq -r .key"
)]
pub struct CreateArgs {
    /// Name: lower-case letters, digits, dots and dashes, beginning with a letter
    name: String,

    /// What it may do: service, read-only, operator or break-glass
    #[arg(long, value_name = "ROLE", default_value = "service", value_parser = PossibleValuesParser::new(["service", "read-only", "operator", "break-glass"]), hide_possible_values = true)]
    role: String,

    /// Service that it reads; may be repeated
    #[arg(long, value_name = "SERVICE", action = ArgAction::Append)]
    service: Vec<ServiceName>,

    /// Environment whose tenants it reads; may be repeated [default: all]
    #[arg(long, value_name = "ENVIRONMENT", action = ArgAction::Append)]
    environment: Vec<Environment>,

    /// Time until it ends, such as `2160h` [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,

    /// Requests per second [default: the server's own limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate_limit: Option<u32>,

    /// Name of the context, for a script that changes a protected one
    #[arg(long, value_name = "NAME")]
    confirm_context: Option<String>,
}

/// Makes a key.
pub fn create(run: &Invocation, args: &CreateArgs) -> Result<KeyCreatedReport, Failure> {
    let role = Role::from_word(&args.role).unwrap_or(Role::Service);
    if role == Role::Service && args.service.is_empty() {
        return Err(Failure::new(
            Kind::Usage,
            "usage",
            "a key of role `service` is for some service",
        )
        .hint("name it with `--service`, or choose another `--role`"));
    }
    run.target_line("key create", &args.name)?;
    run.approve(
        &Consent {
            confirm_context: args.confirm_context.clone(),
            ..Consent::default()
        },
        &Question {
            command: "key create",
            text: format!("Make key {}", args.name),
            word: &args.name,
            confirmed: None,
            plan: None,
        },
    )?;
    let request = CreateKeyRequest {
        name: args.name.clone(),
        role,
        services: args.service.clone(),
        environments: args.environment.clone(),
        expires_in_seconds: args.expires_in.map(|time| time.as_secs().max(1)),
        rate_limit: args.rate_limit,
    };
    let manager = run.tenant_manager()?;
    let created = run.block_on(async move { manager.create_key(&request).await })?;
    announce(run, &created);
    Ok(KeyCreatedReport { created })
}
