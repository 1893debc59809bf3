//! Where a product would route a token: asks the Tenant Manager as a product would.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::{self, ClientError, ErrorKind, Resolver, ResolverSettings};
use crate::contract::catalogue::Catalogue;
use crate::contract::{ServiceName, TenantId};
use crate::token::{Inspection, Route, RouteAnswer, Severity, route, tenant_to_ask_for};

/// Where the Tenant Manager's answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// Nobody was asked: the token is refused before that.
    NotAsked,
    /// The cache in the memory of this process.
    Memory,
    /// The cache in the shared Redis.
    SharedCache,
    /// The Tenant Manager itself.
    TenantManager,
}

/// Where a product would route a token.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// Service that the token is for.
    pub service: ServiceName,
    /// Where the answer came from.
    pub tier: Tier,
    /// Seconds since the Tenant Manager gave the answer; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// What stands behind a refusal, when the Tenant Manager could not be asked or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Where the request would go.
    pub route: Route,
}

impl Resolution {
    /// Returns true when a product would serve the request, and rightly so.
    pub fn holds(&self) -> bool {
        self.route.allowed
            && self
                .route
                .findings
                .iter()
                .all(|finding| finding.severity != Severity::Error)
    }
}

/// Resolves a token for `service`; fails closed.
pub(super) fn resolve(
    run: &Invocation,
    token: &Inspection,
    service: &ServiceName,
) -> Result<Resolution, Failure> {
    let done = |tier, age: Option<Duration>, cause, route| Resolution {
        service: service.clone(),
        tier,
        age_seconds: age.map(|age| age.as_secs()),
        cause,
        route,
    };
    let claimed = match tenant_to_ask_for(token) {
        Ok(claimed) => claimed,
        Err(refused) => return Ok(done(Tier::NotAsked, None, None, *refused)),
    };
    let catalogue = Catalogue::default();
    let known = catalogue.get(service);
    let Some(tenant) = TenantId::canonical(claimed) else {
        let cause =
            "a tenant id that is not a UUID belongs to no tenant that lerianctl can ask for";
        return Ok(done(
            Tier::NotAsked,
            None,
            Some(cause.to_owned()),
            route(token, service, known, &RouteAnswer::NotFound),
        ));
    };
    let resolver = resolver(run)?;
    let asked = service.clone();
    let outcome =
        run.block_on(async move { Ok::<_, Failure>(resolver.resolve(&tenant, &asked).await) })?;
    let (tier, age, answer, cause) = match outcome {
        Ok(found) => {
            let tier = match found.tier {
                client::Tier::Memory => Tier::Memory,
                client::Tier::Shared => Tier::SharedCache,
                client::Tier::Live => Tier::TenantManager,
            };
            let answer = RouteAnswer::Connections(Box::new(found.config.as_ref().clone()));
            (tier, Some(found.age), answer, None)
        }
        Err(error) => match answer_of(&error) {
            Some(answer) => (Tier::TenantManager, None, answer, Some(error.to_string())),
            None => return Err(error.into()),
        },
    };
    Ok(done(
        tier,
        age,
        cause,
        route(token, service, known, &answer),
    ))
}

/// Builds the resolver that the configuration describes: both cache tiers, as products would have
/// them.
fn resolver(run: &Invocation) -> Result<Resolver, Failure> {
    let config = run.config()?;
    let settings = ResolverSettings {
        ttl: config.cache_ttl()?.value,
        // This process ends before anything could be checked again.
        check_interval: Duration::ZERO,
        ..ResolverSettings::default()
    };
    let shared = config
        .event_redis()?
        .map(|redis| redis.endpoint(run.secrets()))
        .transpose()?;
    Ok(Resolver::new(run.tenant_manager()?, settings, shared))
}

/// Returns what a product makes of a failed call; `None` when the call was never made.
fn answer_of(error: &ClientError) -> Option<RouteAnswer> {
    let status = error.status();
    let unexpected = || status.map(|status| RouteAnswer::Unexpected { status });
    match &error.kind {
        ErrorKind::Auth => match status {
            Some(401) => Some(RouteAnswer::Unauthorized),
            Some(_) => Some(RouteAnswer::Forbidden),
            None => None,
        },
        ErrorKind::Suspended { status } => Some(RouteAnswer::Suspended {
            status: status.clone(),
        }),
        ErrorKind::NotFound => Some(RouteAnswer::NotFound),
        ErrorKind::Usage | ErrorKind::Conflict | ErrorKind::Unsupported => unexpected(),
        ErrorKind::Unavailable => match status {
            Some(status) if status < 500 => Some(RouteAnswer::Unexpected { status }),
            _ => Some(RouteAnswer::Unavailable),
        },
        ErrorKind::BreakerOpen { .. } => Some(RouteAnswer::BreakerOpen),
        ErrorKind::Protocol => Some(match status {
            Some(status) if status != 200 => RouteAnswer::Unexpected { status },
            _ => RouteAnswer::Unreadable,
        }),
        ErrorKind::Deadline => None,
    }
}
