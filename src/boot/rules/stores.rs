//! Static stores, TLS, and secrets that everybody knows.

use super::{Case, Effect, Finding, Severity};
use crate::boot::catalogue::{Kind, Store, StoreKind};
use crate::boot::product::Product::{Crm, Ledger, Ledger4, Tracer};
use crate::boot::variables::Value;

/// Secrets of public examples.
const PUBLISHED: &[&str] = &[
    "lerian",
    "Lerian@123",
    "my-hash-secret-key",
    "my-encrypt-secret-key",
    "dev_api_key_32chars_change_in_prod",
    "root-token",
    "fetcher-dev-only",
    "matcher_dev_password",
    "replicator_secure_password",
    "plugin-fees",
    "postgres",
    "password",
    "guest",
];

pub(super) fn check(case: &mut Case<'_>) {
    let stores: Vec<&Store> = case.catalogue.stores(case.product).collect();
    for store in &stores {
        missing(case, store);
    }
    tls(case, &stores);
    saas(case, &stores);
    secrets(case);
}

fn dialled(case: &Case<'_>, store: &Store) -> bool {
    !case.multi_tenant || store.multi_tenant
}

fn missing(case: &mut Case<'_>, store: &Store) {
    if !dialled(case, store) || case.variables.given(&store.host) {
        return;
    }
    let probably = if store.inferred && case.multi_tenant {
        "probably "
    } else {
        ""
    };
    let message = format!(
        "{} ({}) is not configured: {} {probably}refuses to start",
        store.what, store.host, case.product
    );
    let mut finding = Finding::new("store-missing", Effect::Refuses, message);
    if !probably.is_empty() {
        finding.effect = Effect::Degraded;
        finding.severity = Severity::Medium;
    }
    case.about(&store.host, finding);
}

/// Returns true when the store is spoken to over TLS; `None` when nothing can be said.
fn has_tls(case: &Case<'_>, store: &Store) -> Option<bool> {
    let elsewhere = case
        .variables
        .get(&store.tls)
        .is_some_and(|entry| matches!(entry.value, Value::Elsewhere(_)));
    if elsewhere || !case.variables.given(&store.host) {
        return None;
    }
    let said = case
        .variables
        .text(&store.tls)
        .unwrap_or_default()
        .to_lowercase();
    Some(match store.kind {
        StoreKind::Postgresql => matches!(said.as_str(), "require" | "verify-ca" | "verify-full"),
        StoreKind::Redis => case.variables.flag(&store.tls, false),
        StoreKind::Rabbitmq => said == "amqps",
        StoreKind::Mongodb => {
            let beside = |suffix: &str| store.tls.replace("_URI", suffix);
            let parameters = case
                .variables
                .text(&beside("_PARAMETERS"))
                .unwrap_or_default();
            let parameters = parameters.to_lowercase();
            said.contains("+srv")
                || parameters.contains("tls=true")
                || parameters.contains("ssl=true")
                || case.variables.given(&beside("_TLS_CA_CERT"))
        }
    })
}

fn tls(case: &mut Case<'_>, stores: &[&Store]) {
    const NAME: &str = "ALLOW_INSECURE_TLS";
    let enforced = case.is(&[Ledger, Ledger4, Crm, Tracer]);
    if case.variables.given(NAME) && case.variables.raw(NAME).is_none() {
        return;
    }
    if case.variables.truthy(NAME) {
        if case.multi_tenant {
            let finding = Finding::new(
                "tls-not-required",
                Effect::Insecure,
                "ALLOW_INSECURE_TLS is on: a tenant whose connection has no TLS is served in the clear",
            );
            case.about(NAME, finding);
        }
        return;
    }
    if !enforced {
        return;
    }
    let clear: Vec<&Store> = stores
        .iter()
        .copied()
        .filter(|store| store.kind != StoreKind::Rabbitmq && dialled(case, store))
        .filter(|store| has_tls(case, store) == Some(false))
        .collect();
    let Some(first) = clear.first() else {
        return;
    };
    let list: Vec<String> = clear
        .iter()
        .map(|store| format!("{} ({})", store.what, store.tls))
        .collect();
    let message = format!(
        "{} without TLS, and ALLOW_INSECURE_TLS is not on",
        list.join(", ")
    );
    case.about(
        &first.tls.clone(),
        Finding::new("tls-required", Effect::Refuses, message),
    );
}

fn saas(case: &mut Case<'_>, stores: &[&Store]) {
    let mode = case.variables.text("DEPLOYMENT_MODE").unwrap_or_default();
    if !mode.eq_ignore_ascii_case("saas") {
        return;
    }
    let mut clear: Vec<String> = stores
        .iter()
        .filter(|store| case.product != Tracer || store.kind == StoreKind::Postgresql)
        .filter(|store| has_tls(case, store) == Some(false))
        .map(|store| store.what.clone())
        .collect();
    let events = "MULTI_TENANT_REDIS_TLS";
    if case.multi_tenant
        && case.product != Tracer
        && case.variables.given("MULTI_TENANT_REDIS_HOST")
        && (case.variables.raw(events).is_some() || !case.variables.given(events))
        && !case.variables.flag(events, false)
    {
        clear.push("the event Redis".to_owned());
    }
    if clear.is_empty() {
        return;
    }
    let message = format!(
        "DEPLOYMENT_MODE is saas, and there is no TLS for {}",
        clear.join(", ")
    );
    case.about(
        "DEPLOYMENT_MODE",
        Finding::new("saas-tls", Effect::Refuses, message),
    );
}

fn secrets(case: &mut Case<'_>) {
    let serious = case.multi_tenant || case.environment() == "production";
    for (name, entry) in case.variables.iter() {
        let Value::Known(text) = &entry.value else {
            continue;
        };
        let Some(kind) = case.catalogue.kind(name, case.product) else {
            continue;
        };
        let text = text.expose().trim();
        if is_placeholder(text) {
            let message = format!("{name} holds a placeholder");
            case.about(
                name,
                Finding::new("placeholder-left", Effect::Degraded, message),
            );
        } else if kind == Kind::Secret && PUBLISHED.contains(&text) {
            let message = format!("{name} has the value of a public example");
            let finding = Finding::new("secret-published", Effect::Insecure, message);
            let severity = if serious {
                Severity::High
            } else {
                Severity::Medium
            };
            case.about(name, finding.severity(severity));
        }
    }
}

/// Returns true for a text that says that something else belongs in its place.
pub(super) fn is_placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let angled = lower.starts_with('<') && lower.ends_with('>') && lower.len() > 2;
    [
        "change_me",
        "changeme",
        "change-me",
        "replace_me",
        "replace-me",
        "your-",
        "your_",
    ]
    .iter()
    .any(|word| lower.starts_with(word))
        || angled
}
