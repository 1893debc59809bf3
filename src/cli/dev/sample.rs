//! `lerianctl dev sample`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::cli::server::run::{Announce, bind, runtime, say_ready, told_to_stop};
use crate::client::{Resolver, ResolverSettings};
use crate::contract::ServiceName;
use crate::devstack::sample;
use crate::link::redis::RedisEndpoint;
use crate::middleware::{KeySet, Listening, PoolSettings, Tenancy, TenancySettings, Trust, listen};
use crate::token::mint::ISSUER;

/// Longest pause before a tenant is loaded again after an event: one process asks alone.
const JITTER: Duration = Duration::from_millis(100);

/// Serve a small sample product: organizations and ledgers, each tenant's in its own database
///
/// Speaks as Lerian's ledger does, as far as it goes: `/v1/organizations` and
/// `/v1/organizations/{id}/ledgers`, with the products' errors and `X-Idempotency`. The tenant is that
/// of the token, whose signature is checked with the development server's keys. Tenants and their
/// databases come from the Tenant Manager, changes are heard as events. Listens on loopback only;
/// Ctrl-C stops it. Not for production.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl dev sample\n  lerianctl dev sample --port 8080 --ready-file sample.json\n  curl -H \"Authorization: Bearer $(lerianctl token mint --tenant banco-aurora)\" http://127.0.0.1:3000/v1/organizations"
)]
pub struct SampleArgs {
    /// Service that it is, as tenants are associated with it
    #[arg(long, value_name = "NAME", default_value = "ledger")]
    service: ServiceName,

    /// Module whose database it uses [default: the first that has one]
    #[arg(long, value_name = "NAME")]
    module: Option<String>,

    /// Port to listen on; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    port: u16,

    /// Address of the key set that tokens are checked with [default: that of the Tenant Manager]
    #[arg(long, value_name = "URL")]
    jwks: Option<url::Url>,

    /// File that is written once it answers: the address as JSON
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Serves until told to stop.
pub fn sample(run: &Invocation, args: &SampleArgs) -> Result<(), Failure> {
    crate::cli::log::start_development(run)?;
    let config = run.config()?;
    let client = run.client_settings()?;
    let keys = args.jwks.clone().unwrap_or_else(|| {
        let mut address = client.base.clone();
        address.set_path("/.well-known/jwks.json");
        address
    });
    let redis = config
        .event_redis()?
        .map(|redis| redis.endpoint(run.secrets()))
        .transpose()?;
    let settings = TenancySettings {
        service: args.service.clone(),
        modules: args.module.iter().cloned().collect(),
        trust: Trust::Published(KeySet::new(keys)),
        issuer: Some(ISSUER.to_owned()),
        audience: Some(args.service.to_string()),
        pools: PoolSettings {
            max_tenants: config.max_tenant_pools()?.value,
            idle_timeout: config.idle_timeout()?.value,
            ..PoolSettings::default()
        },
    };
    let tiers = ResolverSettings {
        ttl: config.cache_ttl()?.value,
        check_interval: config.check_interval()?.value,
        max_tenants: config.max_tenant_pools()?.value,
        idle_timeout: config.idle_timeout()?.value,
    };
    let events = listening(run, redis.clone())?;
    let manager = crate::client::TenantManager::new(client)?;
    runtime()?.block_on(async {
        let tenancy = Tenancy::new(settings, Resolver::new(manager, tiers, redis));
        let _listener = events.map(|events| listen(&tenancy, events));
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port))).await?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let announce = Announce {
            ready_file: args.ready_file.clone(),
            extra: vec![("service", args.service.to_string())],
        };
        say_ready(run, &format!("http://{address}"), &announce)?;
        axum::serve(listener, sample::router(tenancy))
            .with_graceful_shutdown(told_to_stop())
            .await
            .map_err(|error| failed(&error))
    })
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::new(Kind::Internal, "internal", "the sample cannot serve").cause(error)
}

/// Returns how events are heard, where there are some.
fn listening(run: &Invocation, redis: Option<RedisEndpoint>) -> Result<Option<Listening>, Failure> {
    let environment = run.config()?.environment()?.map(|found| found.value);
    let (Some(redis), Some(environment)) = (redis, environment) else {
        run.console.warn(
            "no event Redis or no environment is configured: changes of tenants are found out by asking",
        );
        return Ok(None);
    };
    if !environment.has_events() {
        return Ok(None);
    }
    Ok(Some(Listening {
        redis,
        environment,
        jitter: JITTER,
    }))
}
