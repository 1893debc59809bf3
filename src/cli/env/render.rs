//! `lerianctl env render`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::boot::Product;
use crate::boot::render::{Block, Format, RenderError, Settings, render as write};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::{self, SecretReference, SecretSource as _};
use crate::output::{Report, View};
use crate::secret::Secret;

/// Address of the Access Manager in Lerian's charts.
const ACCESS_MANAGER: &str = "http://plugin-auth:4000";

/// Write a block of variables with which a product starts multi-tenant
///
/// Tenant Manager, Redis and environment are those of the context. The block is checked with the
/// product's rules before it is written. Secrets are references or placeholders, unless
/// `--show-secrets` asks for them; what is still to be filled in says CHANGE_ME.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl env render --product ledger > ledger.env\n  lerianctl env render --product tracer --format helm > values-tenancy.yaml\n  lerianctl env render --product crm --format k8s --context production | kubectl apply -f -\n  lerianctl env render --product ledger | lerianctl env check - --product ledger"
)]
pub struct RenderArgs {
    /// Product
    #[arg(long, value_name = "NAME", value_parser = super::product, add = ArgValueCandidates::new(super::products))]
    product: Product,

    /// How the block is written
    #[arg(long, value_name = "FORMAT", default_value = "dotenv", value_parser = super::words(&Format::ALL, Format::as_str))]
    format: Format,

    /// Environment of the tenants: production or staging; that of the context otherwise
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,

    /// Address of the Access Manager, with its scheme
    #[arg(long, value_name = "URL")]
    auth_address: Option<String>,

    /// Name of the service in the Tenant Manager; the usual one otherwise
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// Accept stores without TLS, for a laptop
    #[arg(long)]
    allow_insecure_tls: bool,

    /// Write the secrets themselves
    #[arg(long)]
    show_secrets: bool,

    /// Write secrets although standard output is not a terminal
    #[arg(short, long)]
    yes: bool,
}

/// Writes a block.
pub fn render(run: &Invocation, args: &RenderArgs) -> Result<EnvBlockReport, Failure> {
    if args.show_secrets && !args.yes && !run.environment.stdout_terminal {
        return Err(Failure::new(
            Kind::Refused,
            "consent.needed",
            "`--show-secrets` writes secrets, and standard output is not a terminal",
        )
        .hint_command("if that is meant", format!("{} --yes", run.command_line)));
    }
    let settings = settings(run, args)?;
    let block = write(args.product, args.format, &settings)?;
    if !block.placeholders.is_empty() && !run.console.quiet {
        run.console.warn(format!(
            "to be filled in: {}",
            block.placeholders.join(", ")
        ));
    }
    Ok(EnvBlockReport { block })
}

fn settings(run: &Invocation, args: &RenderArgs) -> Result<Settings, Failure> {
    let config = run.config()?;
    let Some(server) = config.server()? else {
        return Err(Failure::new(
            Kind::Usage,
            "config.no_server",
            "no Tenant Manager is configured",
        )
        .hint(
            "name one with `--server URL`, `LERIANCTL_SERVER`, or a context in the config file",
        ));
    };
    let redis = config.event_redis()?;
    let environment = match &args.environment {
        Some(environment) => environment.clone(),
        None => config
            .environment()?
            .map_or_else(|| "production".to_owned(), |it| it.value.to_string()),
    };
    let mut secrets = Vec::new();
    if args.show_secrets {
        if let Some(key) = config.api_key() {
            secrets.push(("MULTI_TENANT_SERVICE_API_KEY", reveal(run, &key.value)?));
        }
        if let Some(password) = redis.as_ref().and_then(|redis| redis.password.as_ref()) {
            secrets.push(("MULTI_TENANT_REDIS_PASSWORD", reveal(run, &password.value)?));
        }
    }
    let address = args.auth_address.clone();
    let address = address.or_else(|| config.auth_address().map(|it| it.value));
    Ok(Settings {
        server: server.value.as_str().trim_end_matches('/').to_owned(),
        environment,
        redis_host: redis.as_ref().map(|redis| redis.host.value.clone()),
        redis_port: redis.as_ref().map_or(6379, |redis| redis.port.value),
        redis_tls: redis.as_ref().is_none_or(|redis| redis.tls.value),
        redis_has_password: redis.as_ref().is_some_and(|redis| redis.password.is_some()),
        auth_address: address.unwrap_or_else(|| ACCESS_MANAGER.to_owned()),
        allow_insecure_http: config.allow_insecure_http()?.value
            || config::is_loopback(&server.value),
        allow_insecure_tls: args.allow_insecure_tls,
        service: args.service.clone(),
        secrets,
    })
}

fn reveal(run: &Invocation, reference: &SecretReference) -> Result<Secret, Failure> {
    match reference {
        SecretReference::Stdin => run.read_secret("-".as_ref(), "the API key"),
        reference => Ok(run.secrets().reveal(reference)?),
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        let message = error.to_string();
        match error {
            RenderError::Refused { reasons, .. } => {
                let failure = Self::new(Kind::Usage, "env.refused", message);
                reasons.into_iter().fold(failure, Self::cause)
            }
            RenderError::Unquotable { .. } => Self::new(Kind::Usage, "env.unquotable", message),
        }
    }
}

/// A block of variables.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct EnvBlockReport {
    /// The block and what is to be filled in.
    #[serde(flatten)]
    block: Block,
}

impl Report for EnvBlockReport {
    const KIND: &'static str = "EnvBlock";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.plain(&self.block.text);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.block.product.to_string())
    }
}
