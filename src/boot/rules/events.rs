//! The channel of lifecycle events: its Redis, and its environment.

use super::{Case, Effect, Finding, Severity, is_cluster, is_local};
use crate::boot::product::Product::{
    Fees, FetcherManager, FetcherWorker, Matcher, Reporter, Tracer,
};
use crate::contract::Environment;

pub(super) fn check(case: &mut Case<'_>) {
    if !case.multi_tenant || case.is(&[Matcher, Reporter]) {
        return;
    }
    let certificates = "MULTI_TENANT_REDIS_CA_CERT";
    if case.variables.given(certificates) {
        if case.is(&[FetcherManager, FetcherWorker]) {
            let finding = Finding::new(
                "redis-ca-refused",
                Effect::Refuses,
                "MULTI_TENANT_REDIS_CA_CERT is set, which Fetcher does not support",
            );
            case.about(certificates, finding);
        } else {
            let message = format!("{} does not read {certificates}", case.product);
            case.about(
                certificates,
                Finding::new("variable-unread", Effect::Ignored, message),
            );
        }
    }
    if !case.variables.given("MULTI_TENANT_REDIS_HOST") {
        host_missing(case);
        return;
    }
    transport(case);
    environment(case);
}

fn host_missing(case: &mut Case<'_>) {
    let required = case.is(&[Tracer, FetcherManager, FetcherWorker, Fees]);
    let (effect, severity, then) = if required {
        (Effect::Refuses, Severity::High, "refuses to start")
    } else {
        (
            Effect::Degraded,
            Severity::Medium,
            "starts, and never hears of a rotation or a suspension",
        )
    };
    let message = format!(
        "MULTI_TENANT_REDIS_HOST is not set: {} {then}",
        case.product
    );
    let finding = Finding::new("redis-host-missing", effect, message);
    case.about("MULTI_TENANT_REDIS_HOST", finding.severity(severity));
}

fn transport(case: &mut Case<'_>) {
    const NAME: &str = "MULTI_TENANT_REDIS_TLS";
    let implied = case.product == Tracer;
    if implied && !case.variables.given(NAME) {
        let finding = Finding::new(
            "redis-tls-implied",
            Effect::Note,
            "MULTI_TENANT_REDIS_TLS is not set, which means true for the Tracer",
        );
        case.about(NAME, finding);
    }
    let unknown = case.variables.given(NAME) && case.variables.raw(NAME).is_none();
    if case.variables.flag(NAME, implied) || unknown {
        return;
    }
    let host = case
        .variables
        .text("MULTI_TENANT_REDIS_HOST")
        .unwrap_or_default();
    let near = is_local(host) || is_cluster(host);
    let finding = Finding::new(
        "redis-in-clear",
        Effect::Insecure,
        "the event Redis is reached without TLS",
    );
    let severity = if near {
        Severity::Info
    } else {
        Severity::Medium
    };
    case.about(NAME, finding.severity(severity));
}

fn environment(case: &mut Case<'_>) {
    let wins = case.variables.given("ENVIRONMENT_NAME");
    let name = if wins { "ENVIRONMENT_NAME" } else { "ENV_NAME" };
    if case.variables.given(name) && case.variables.raw(name).is_none() {
        return;
    }
    let channel = case.variables.channel_environment();
    let known = channel
        .as_deref()
        .is_some_and(|channel| Environment::WITH_EVENTS.contains(&channel));
    if !known {
        let said = match &channel {
            Some(_) => format!("{name} is {}", case.quoted(name)),
            None => "neither ENVIRONMENT_NAME nor ENV_NAME is set".to_owned(),
        };
        let message = format!("{said}: there are no events in that environment");
        case.about(
            name,
            Finding::new("environment-without-events", Effect::Degraded, message),
        );
        return;
    }
    let lax = case.environment();
    if wins && channel.as_deref() != Some(lax.as_str()) {
        let http = case.product.http_by_environment() && super::tenancy::http_allowed(case);
        let message = format!(
            "events are those of {}, and everything else goes by ENV_NAME, which is {}",
            case.quoted("ENVIRONMENT_NAME"),
            if lax.is_empty() {
                "not set".to_owned()
            } else {
                case.quoted("ENV_NAME")
            }
        );
        let (effect, severity) = if http && channel.as_deref() == Some("production") {
            (Effect::Insecure, Severity::High)
        } else {
            (Effect::Degraded, Severity::Medium)
        };
        let finding = Finding::new("environment-split", effect, message);
        case.about("ENVIRONMENT_NAME", finding.severity(severity));
    }
}
