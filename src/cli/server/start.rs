//! `lerianctl server start`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::front::{LimitArgs, TlsArgs};
use super::isolation::IsolationArgs;
use super::master::MasterKeyArgs;
use super::place::RegistryArgs;
use super::run::{Announce, serve_until_told};
use super::tokens::TokenArgs;
use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::config::variables::{SERVER_POSTGRES_URL, SERVER_SERVICE_KEY};
use crate::contract::catalogue::Catalogue;
use crate::link::postgres::PostgresEndpoint;
use crate::provision::Cluster;
use crate::secret::Secret;
use crate::server::{AccessSettings, ServerSettings};

/// Largest catalogue file.
const CATALOGUE_BYTES: u64 = 1024 * 1024;

/// Serve the Tenant Manager until told to stop
///
/// Secrets come from files or variables, never from flags. TERM and Ctrl-C drain open requests;
/// operations under way are finished at the next start, or by another server on the same PostgreSQL
/// registry. HUP takes up new certificates. Events are published on the event Redis
/// of the configuration (`MULTI_TENANT_REDIS_HOST` and so on).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl server start --master-key-file master.key --service-key-file api.key --postgres-url-file postgres.url\n  LERIANCTL_SERVER_MASTER_KEY=… lerianctl server start --listen 127.0.0.1:0 --ready-file ready.json …"
)]
pub struct StartArgs {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4003")]
    listen: SocketAddr,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    master: MasterKeyArgs,

    /// File with an API key that every server of the registry accepts from now on, instead of those
    /// of earlier starts; may be repeated [variable: LERIANCTL_SERVER_SERVICE_KEY]
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    service_key_file: Vec<PathBuf>,

    /// File with the postgres:// URL of the cluster that tenants are placed on
    /// [variable: LERIANCTL_SERVER_POSTGRES_URL]
    #[arg(long, value_name = "FILE")]
    postgres_url_file: Option<PathBuf>,

    /// Address of that cluster as products reach it, `HOST` or `HOST:PORT` [default: of the URL]
    #[arg(long, value_name = "ADDRESS")]
    postgres_public: Option<String>,

    /// `sslmode` that products are told [default: of the URL]
    #[arg(long, value_name = "MODE", value_parser = ["disable", "require", "verify-ca", "verify-full"])]
    postgres_public_sslmode: Option<String>,

    /// TOML file with further services, or other definitions of the known ones
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,

    /// How long a retired login stays valid after a rotation
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    rotation_grace: Duration,

    /// Operations that run at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,

    /// Longest time that open requests are given at the end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    drain: Duration,

    /// Accept none of the keys that earlier starts were given: only keys of `lerianctl key create`
    #[arg(long, conflicts_with = "service_key_file")]
    no_service_key: bool,

    /// Requests per second of one key that has no limit of its own; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = AccessSettings::RATE_LIMIT)]
    rate_limit: u32,

    /// File that is written once everything answers: addresses as JSON
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    tokens: TokenArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    isolation: IsolationArgs,
}

/// Starts the server and returns when it has stopped.
pub fn start(run: &Invocation, args: &StartArgs) -> Result<(), Failure> {
    crate::cli::log::start_server(run)?;
    let tls = args.tls.settings(args.listen)?;
    let settings = ServerSettings {
        registry: args.registry.place(run)?,
        master_key: args.master.current(run)?,
        previous_master_key: args.master.previous(run)?,
        api_keys: api_keys(run, args)?,
        clusters: vec![cluster(run, args)?],
        event_redis: run
            .config()?
            .event_redis()?
            .map(|redis| redis.endpoint(run.secrets()))
            .transpose()?,
        catalogue: catalogue(run, args)?,
        development_jwks: None,
        rotation_grace: args.rotation_grace,
        jobs: usize::from(args.jobs),
        drain: args.drain,
        access: AccessSettings {
            rate_limit: args.rate_limit,
            forget_api_keys: args.no_service_key,
            tokens: args.tokens.settings(run, args.tls.allows_insecure_http())?,
        },
        limits: args.limits.limits(),
        tls,
        isolation: args.isolation.settings(run)?,
        ready: Arc::default(),
    };
    if settings.event_redis.is_none() {
        run.console.warn(
            "no event Redis is configured (MULTI_TENANT_REDIS_HOST): products are not told about changes, and events wait in the registry",
        );
    }
    serve_until_told(
        run,
        args.listen,
        settings,
        Announce {
            ready_file: args.ready_file.clone(),
            extra: Vec::new(),
        },
    )
}

fn secret(
    run: &Invocation,
    file: Option<&PathBuf>,
    variable: &str,
    what: &str,
) -> Result<Option<Secret>, Failure> {
    match file {
        Some(path) => run.read_secret(path, what).map(Some),
        None => Ok(run.environment.variable(variable).map(Secret::new)),
    }
}

fn api_keys(run: &Invocation, args: &StartArgs) -> Result<Vec<Secret>, Failure> {
    let mut keys = Vec::new();
    if args.no_service_key {
        if run.environment.variable(SERVER_SERVICE_KEY).is_some() {
            return Err(Failure::new(
                Kind::Usage,
                "usage",
                format!("`--no-service-key` and {SERVER_SERVICE_KEY} exclude each other"),
            ));
        }
        return Ok(keys);
    }
    for file in &args.service_key_file {
        keys.push(run.read_secret(file, "the API key")?);
    }
    keys.extend(
        run.environment
            .variable(SERVER_SERVICE_KEY)
            .map(Secret::new),
    );
    if keys.is_empty() {
        return Err(Failure::new(
            Kind::Usage,
            "server.no_service_key",
            "there is no API key to accept, so nobody could use this server",
        )
        .hint_command("make one", "openssl rand -hex 32 > api.key")
        .hint(format!(
            "then give it with `--service-key-file FILE` or {SERVER_SERVICE_KEY}"
        )));
    }
    if let Some(short) = keys.iter().find(|key| key.expose().len() < 16) {
        return Err(Failure::new(
            Kind::Usage,
            "server.weak_key",
            format!(
                "an API key has {} characters; a random one has at least 16",
                short.expose().len()
            ),
        ));
    }
    Ok(keys)
}

fn cluster(run: &Invocation, args: &StartArgs) -> Result<Cluster, Failure> {
    let url = secret(
        run,
        args.postgres_url_file.as_ref(),
        SERVER_POSTGRES_URL,
        "the PostgreSQL URL",
    )?
    .ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "server.no_postgres",
            "there is no PostgreSQL cluster to place tenants on",
        )
        .hint(format!(
            "give its postgres:// URL with `--postgres-url-file FILE` or {SERVER_POSTGRES_URL}"
        ))
        .hint_command("to just try things", "lerianctl dev up")
    })?;
    let admin = PostgresEndpoint::parse_url(url.expose())?;
    let (public_host, public_port) = match &args.postgres_public {
        None => (admin.host.clone(), admin.port),
        Some(text) => public(text, admin.port)?,
    };
    Ok(Cluster {
        name: "main".into(),
        public_host,
        public_port,
        public_sslmode: args.postgres_public_sslmode.clone().unwrap_or_else(|| {
            match admin.sslmode.as_str() {
                // Products know no `prefer`.
                "prefer" | "allow" => String::new(),
                other => other.to_owned(),
            }
        }),
        admin,
    })
}

fn public(text: &str, port: u16) -> Result<(String, u16), Failure> {
    let bad = || {
        Failure::new(
            Kind::Usage,
            "usage",
            "`--postgres-public` is not HOST or HOST:PORT",
        )
    };
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.to_owned(), port));
    }
    let (host, port) = match text.split_once(':') {
        None => (text, port),
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
    };
    url::Host::parse(host).map_err(|_| bad())?;
    Ok((host.to_owned(), port))
}

fn catalogue(run: &Invocation, args: &StartArgs) -> Result<Catalogue, Failure> {
    let mut catalogue = Catalogue::default();
    if let Some(path) = &args.catalogue {
        let bytes = run.read_input(path, CATALOGUE_BYTES, "the service catalogue")?;
        let text = String::from_utf8_lossy(&bytes);
        let more = Catalogue::parse(&text).map_err(|error| {
            Failure::new(
                Kind::Usage,
                "server.catalogue",
                format!("`{}` is not a service catalogue", path.display()),
            )
            .cause(error)
        })?;
        catalogue.extend(more);
    }
    Ok(catalogue)
}
