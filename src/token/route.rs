//! Where a product would send the bearer of a token, and what it would answer otherwise.
//!
//! Emulates what a product does with a request: lib-auth asks the Access Manager, the tenant
//! middleware reads the tenant from the token, the Tenant Manager's answer decides the rest.
//! Status, code and title are those of the products. The Access Manager itself is not asked:
//! what it certainly refuses is refused here, and everything in doubt too.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::inspect::{Bearer, Inspection, TenantState};
use super::parse::{Part, TokenError};
use super::warning::{Severity, Warning, is_known_algorithm};
use crate::contract::ServiceName;
use crate::contract::catalogue::{Service, Store};
use crate::contract::wire::{PostgresConfig, TenantConfig};

/// Services whose managers have no module name: they take the first module, in byte order, that
/// has the store.
const WITHOUT_MODULE_NAME: [&str; 2] = ["tracer", "matcher"];

/// What the Tenant Manager answered about a tenant and a service, as a product's client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAnswer {
    /// 200 with the connections.
    Connections(Box<TenantConfig>),
    /// 404: no such tenant, or no such association.
    NotFound,
    /// 403 that names a status.
    Suspended {
        /// `suspended`, `purged`, …
        status: String,
    },
    /// 403 without a status.
    Forbidden,
    /// 401: the product's own API key is wrong.
    Unauthorized,
    /// Any other status that is neither success nor failure to a product (400, 409, 422, 429, 202, …).
    Unexpected {
        /// The status.
        status: u16,
    },
    /// 5xx, no connection, or no answer in time.
    Unavailable,
    /// 200 with something that is no configuration.
    Unreadable,
    /// Not asked: the breaker is open after too many failures.
    BreakerOpen,
}

/// Who answers the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Layer {
    /// lib-auth inside the product, which runs first.
    Authorization,
    /// The Access Manager, whose answer lib-auth passes on.
    AccessManager,
    /// The tenant middleware of lib-commons.
    TenantMiddleware,
}

/// What a caller would be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Who answers.
    pub by: Layer,
    /// HTTP status.
    pub status: u16,
    /// Field `code`; absent for an answer in plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Field `title`; absent for an answer in plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// Field `message`, or the whole text.
    pub message: String,
    /// False where only the refusal is certain, not its status.
    pub certain: bool,
}

impl Answer {
    fn middleware(
        status: u16,
        code: &'static str,
        title: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            by: Layer::TenantMiddleware,
            status,
            code: Some(code),
            title: Some(title),
            message: message.into(),
            certain: true,
        }
    }

    fn unauthorized(code: &'static str, message: &str) -> Self {
        Self::middleware(401, code, "Unauthorized", message)
    }

    fn unavailable() -> Self {
        let title = "Service Unavailable";
        Self::middleware(
            503,
            "SERVICE_UNAVAILABLE",
            title,
            "Service temporarily unavailable",
        )
    }

    fn failed() -> Self {
        let title = "Failed to resolve tenant database";
        Self::middleware(500, "TENANT_DB_ERROR", title, "Internal server error")
    }

    fn authorization(message: &str) -> Self {
        Self {
            by: Layer::Authorization,
            status: 401,
            code: None,
            title: None,
            message: message.to_owned(),
            certain: true,
        }
    }

    fn access_manager() -> Self {
        Self {
            by: Layer::AccessManager,
            status: 401,
            code: None,
            title: None,
            message: "the Access Manager's own answer is passed on".to_owned(),
            certain: false,
        }
    }
}

/// Where one module of a product would connect. Holds no password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Module.
    pub module: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Schema, in schema mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Login role.
    pub user: String,
    /// `sslmode`; products default to `disable`.
    pub sslmode: String,
    /// Whether reads go to a replica of its own.
    pub replica: bool,
}

/// Where a product would send the bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// True when a product would serve the request.
    pub allowed: bool,
    /// The reason in a sentence.
    pub reason: String,
    /// What the caller is answered; absent when served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What lib-auth answers before `answer` could be reached, where authorization is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_first: Option<Answer>,
    /// The id that products of today look up: the claim as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Isolation mode of the association, in the contract's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation_mode: Option<String>,
    /// Where the product connects; empty unless served.
    pub connections: Vec<Connection>,
    /// What is odd about the route.
    pub findings: Vec<Warning>,
}

impl Route {
    fn refused(answer: Answer, reason: impl Into<String>) -> Self {
        Self {
            allowed: false,
            reason: reason.into(),
            answer: Some(answer),
            answered_first: None,
            tenant_id: None,
            isolation_mode: None,
            connections: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn after(mut self, first: Answer) -> Self {
        self.answered_first = Some(first);
        self
    }

    fn of_tenant(mut self, id: &str) -> Self {
        self.tenant_id = Some(id.to_owned());
        self
    }

    fn finding(
        &mut self,
        id: &'static str,
        severity: Severity,
        text: impl Into<String>,
        remedy: &'static str,
    ) {
        self.findings.push(Warning {
            id,
            severity,
            text: text.into(),
            remedy,
        });
    }

    /// Returns what a product answers to a text that is no token.
    pub fn of_error(error: &TokenError) -> Self {
        let (answer, first) = match error {
            TokenError::Empty => (
                Answer::unauthorized("MISSING_TOKEN", "Authorization token is required"),
                "Missing Token",
            ),
            // A map without entries to the products' parser, so the tenant is what is missing.
            TokenError::NotAnObject {
                part: Part::Claims,
                found: "null",
            } => return Self::refused(missing_tenant(), "the token says nothing"),
            _ => (unparsable(), "Unauthorized"),
        };
        Self::refused(answer, error.to_string()).after(Answer::authorization(first))
    }
}

fn unparsable() -> Answer {
    Answer::unauthorized("INVALID_TOKEN", "Failed to parse authorization token")
}

fn missing_tenant() -> Answer {
    Answer::unauthorized("MISSING_TENANT", "tenantId is required in JWT token")
}

/// Returns the tenant id to ask the Tenant Manager for, or the refusal that comes before it.
///
/// Fails closed: nothing is looked up for a token that a product would not get past.
pub fn tenant_to_ask_for(token: &Inspection) -> Result<&str, Box<Route>> {
    refusal_before_lookup(token).map_or_else(
        || Ok(token.tenant.verbatim.as_deref().unwrap_or_default()),
        |route| Err(Box::new(route)),
    )
}

fn refusal_before_lookup(token: &Inspection) -> Option<Route> {
    let unreadable = [&token.header, &token.claims]
        .iter()
        .any(|part| !part.out_of_range().is_empty());
    let unknown = !token.algorithm.as_deref().is_some_and(is_known_algorithm);
    if unreadable || unknown {
        let reason = if unreadable {
            "the token holds a number that no product can read"
        } else {
            "the header names no algorithm that products know"
        };
        return Some(
            Route::refused(unparsable(), reason).after(Answer::authorization("Unauthorized")),
        );
    }
    let incomplete = token.bearer == Bearer::Human
        && [&token.owner, &token.subject]
            .iter()
            .any(|claim| claim.as_deref().is_none_or(str::is_empty));
    let first = incomplete.then(|| Answer::authorization("Unauthorized"));
    let answer = match (token.tenant.state, token.tenant.verbatim.as_deref()) {
        (TenantState::Missing | TenantState::NotText, _) => {
            Some((missing_tenant(), "the token selects no tenant"))
        }
        (TenantState::Refused, _) | (_, None) => Some((
            Answer::unauthorized("INVALID_TENANT", "tenantId has invalid format"),
            "products refuse this `tenantId`",
        )),
        (TenantState::Canonical | TenantState::NotCanonical | TenantState::NotUuid, Some(_)) => {
            None
        }
    };
    if let Some((answer, reason)) = answer {
        let route = Route::refused(answer, reason);
        return Some(match first {
            Some(first) => route.after(first),
            None => route,
        });
    }
    if let Some(answer) = first {
        return Some(Route::refused(
            answer,
            "a person's token needs `owner` and `sub`",
        ));
    }
    let reason: Cow<'_, str> = if token.algorithm.as_deref() == Some("none") || !token.signed {
        "nobody signed the token".into()
    } else if !token.validity.holds() {
        token.validity.words.as_str().into()
    } else {
        return None;
    };
    let mut route = Route::refused(Answer::access_manager(), reason);
    route.finding(
        "authorization-off",
        Severity::Warning,
        "only authorization refuses this token: a product whose authorization is off, or whose \
         authorization address is empty, serves it",
        "keep `PLUGIN_AUTH_ENABLED=true` and its address set on every multi-tenant product",
    );
    Some(route)
}

/// Returns where a product sends the bearer of `token`, given the Tenant Manager's answer about
/// the token's tenant and `service`.
///
/// `known` is what the catalogue says about the service; without it, the modules of the answer
/// are taken for the modules of the product.
pub fn route(
    token: &Inspection,
    service: &ServiceName,
    known: Option<&Service>,
    answer: &RouteAnswer,
) -> Route {
    if let Some(refused) = refusal_before_lookup(token) {
        return refused;
    }
    let tenant = token.tenant.verbatim.as_deref().unwrap_or_default();
    let refused = |answer, reason: &str| Route::refused(answer, reason).of_tenant(tenant);
    match answer {
        RouteAnswer::Connections(config) => {
            connect(token, service, known, config).of_tenant(tenant)
        }
        RouteAnswer::NotFound => refused(
            Answer::middleware(
                404,
                "TENANT_NOT_FOUND",
                "Tenant Not Found",
                format!("tenant not found: {tenant}"),
            ),
            "the Tenant Manager knows no such tenant, or does not associate it with the service",
        ),
        RouteAnswer::Suspended { status } => refused(
            Answer::middleware(
                403,
                "0131",
                "Service Suspended",
                format!("tenant service is {status}"),
            ),
            "the tenant's service is not active",
        ),
        RouteAnswer::Forbidden => refused(
            Answer::middleware(403, "0131", "Access Denied", "tenant service access denied"),
            "the Tenant Manager refuses this tenant and service without naming a status",
        ),
        RouteAnswer::Unauthorized => refused(
            Answer::failed(),
            "the Tenant Manager refuses the API key: a product with this key answers 500 to everybody",
        ),
        RouteAnswer::Unexpected { status } => refused(
            Answer::failed(),
            &format!("the Tenant Manager answered {status}, which tells a product nothing"),
        ),
        RouteAnswer::Unreadable => refused(
            Answer::failed(),
            "the Tenant Manager's answer is no configuration",
        ),
        RouteAnswer::Unavailable => refused(
            Answer::failed(),
            "the Tenant Manager did not answer; a product answers 500, and 503 once its breaker is open",
        ),
        RouteAnswer::BreakerOpen => refused(
            Answer::unavailable(),
            "the Tenant Manager failed too often and is not asked for a while (breaker open)",
        ),
    }
}

fn connect(
    token: &Inspection,
    service: &ServiceName,
    known: Option<&Service>,
    config: &TenantConfig,
) -> Route {
    let schema_mode = config.isolation_mode == "schema";
    let wanted = match modules(service, known, config) {
        Ok(wanted) => wanted,
        Err(missing) => {
            return Route::refused(
                Answer::unavailable(),
                format!("the answer has no PostgreSQL database for {missing}"),
            );
        }
    };
    let mut connections = Vec::with_capacity(wanted.len());
    for (module, config, replica) in wanted {
        if let Some(problem) = unusable(config, schema_mode) {
            return Route::refused(Answer::failed(), format!("module `{module}` {problem}"));
        }
        connections.push(Connection {
            module: module.to_owned(),
            host: config.host.clone(),
            port: config.port,
            database: config.database.clone(),
            schema: schema_mode.then(|| config.schema.clone()),
            user: config.username.clone(),
            sslmode: if config.sslmode.is_empty() {
                "disable".to_owned()
            } else {
                config.sslmode.clone()
            },
            replica,
        });
    }
    let mut route = Route {
        allowed: true,
        reason: "a product would serve this request".to_owned(),
        answer: None,
        answered_first: None,
        tenant_id: None,
        isolation_mode: Some(if schema_mode { "schema" } else { "isolated" }.to_owned()),
        connections,
        findings: Vec::new(),
    };
    if token.tenant.canonical.as_deref() != Some(config.id.as_str()) {
        route.finding(
            "other-tenant-answered",
            Severity::Error,
            "the Tenant Manager answered with the connections of another tenant id; products do not \
             compare, and would serve it",
            "do not let traffic through; find out why the Tenant Manager mixes tenants up",
        );
    }
    if token.tenant.is_ambiguous() {
        route.finding(
            "two-spellings",
            Severity::Error,
            "products use the tenant id as it stands in the token for Redis keys and pools, apart from \
             those of the canonical id",
            "have the issuer write the tenant id as 32 lower-case hex digits without dashes",
        );
    }
    let absent = missing_stores(known, config);
    if !absent.is_empty() {
        route.finding(
            "store-missing",
            Severity::Warning,
            format!(
                "the answer has no {}: a product that uses one of them answers 503 `SERVICE_UNAVAILABLE`",
                absent.join(" and no ")
            ),
            "configure these stores for the tenant before real traffic",
        );
    }
    route
}

type Wanted<'a> = (&'a str, &'a PostgresConfig, bool);

/// Returns the PostgreSQL stores that a product opens, or the name of what is missing.
fn modules<'a>(
    service: &ServiceName,
    known: Option<&'a Service>,
    config: &'a TenantConfig,
) -> Result<Vec<Wanted<'a>>, String> {
    let store = |module: &'a str| {
        let found = config.databases.get(module)?;
        let replica = found.postgresql_replica.is_some();
        Some((module, found.postgresql.as_ref()?, replica))
    };
    let offered = || config.databases.keys().filter_map(|name| store(name));
    if WITHOUT_MODULE_NAME.contains(&service.as_str()) {
        return offered()
            .next()
            .map(|first| vec![first])
            .ok_or_else(|| "any module".to_owned());
    }
    match known {
        Some(known) => known
            .postgres_modules()
            .map(|module| store(module).ok_or_else(|| format!("module `{module}`")))
            .collect(),
        None => Ok(offered().collect()),
    }
}

/// Says what keeps a product from building a connection string.
fn unusable(config: &PostgresConfig, schema_mode: bool) -> Option<&'static str> {
    let is_schema = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if config.host.is_empty() || config.database.is_empty() || config.port == 0 {
        Some("has no host, port or database")
    } else if schema_mode && config.schema.is_empty() {
        Some("names no schema, though the tenant is in schema mode")
    } else if !config.schema.is_empty() && !is_schema(&config.schema) {
        Some("names a schema that products refuse")
    } else {
        None
    }
}

/// Returns the stores other than PostgreSQL that the catalogue wants and the answer has not.
fn missing_stores(known: Option<&Service>, config: &TenantConfig) -> Vec<String> {
    let Some(known) = known else {
        return Vec::new();
    };
    let absent = |module: &str, store: Store| match store {
        Store::Mongodb => config
            .databases
            .get(module)
            .is_none_or(|found| found.mongodb.is_none()),
        Store::Rabbitmq => config.rabbitmq.is_none() && config.messaging.is_none(),
        Store::Postgresql => false,
    };
    let wanted = known.not_provisioned();
    [(Store::Mongodb, "MongoDB"), (Store::Rabbitmq, "RabbitMQ")]
        .into_iter()
        .filter_map(|(store, name)| {
            let modules: Vec<String> = wanted
                .iter()
                .filter(|(module, of)| *of == store && absent(module, store))
                .map(|(module, _)| format!("`{module}`"))
                .collect();
            (!modules.is_empty()).then(|| format!("{name} for {}", modules.join(", ")))
        })
        .collect()
}

#[cfg(test)]
mod tests;
