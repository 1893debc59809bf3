//! The Tenant Manager: its URL, its key, the name of the service.

use super::{Case, Effect, Finding, Severity, host_of, is_local};
use crate::boot::product::Product::{
    Crm, Fees, FetcherManager, FetcherWorker, Ledger, Ledger4, Matcher, Reporter, Tracer,
};

/// Environments in which Ledger and CRM accept plain http.
const LAX: [&str; 6] = ["staging", "development", "dev", "local", "test", "testing"];
/// Those that count as somebody's own machine.
const OWN_MACHINE: [&str; 5] = ["development", "dev", "local", "test", "testing"];

pub(super) fn check(case: &mut Case<'_>) {
    if !case.multi_tenant {
        off(case);
        return;
    }
    url(case);
    if case.product != Reporter && !case.variables.given("MULTI_TENANT_SERVICE_API_KEY") {
        let finding = Finding::new(
            "api-key-missing",
            Effect::Refuses,
            "MULTI_TENANT_SERVICE_API_KEY is not set",
        );
        case.about("MULTI_TENANT_SERVICE_API_KEY", finding);
    }
    if case.is(&[Ledger, Ledger4, Crm]) && !case.variables.given("APPLICATION_NAME") {
        let finding = Finding::new(
            "application-name-missing",
            Effect::Refuses,
            "APPLICATION_NAME is not set",
        );
        case.about("APPLICATION_NAME", finding);
    }
    if case.product == Matcher
        && !case.variables.given("MULTI_TENANT_ENVIRONMENT")
        && !case.variables.given("ENV_NAME")
    {
        let finding = Finding::new(
            "environment-missing",
            Effect::Refuses,
            "neither MULTI_TENANT_ENVIRONMENT nor ENV_NAME is set",
        );
        case.about("MULTI_TENANT_ENVIRONMENT", finding);
    }
    let queue = "RABBITMQ_TRANSACTION_BALANCE_OPERATION_QUEUE";
    if case.is(&[Ledger, Ledger4]) && !case.variables.given(queue) {
        let message = format!("{queue} is not set");
        case.about(
            queue,
            Finding::new("balance-queue-missing", Effect::Refuses, message),
        );
    }
    deployment_mode(case);
}

fn off(case: &mut Case<'_>) {
    let set: Vec<&str> = [
        "MULTI_TENANT_URL",
        "MULTI_TENANT_SERVICE_API_KEY",
        "MULTI_TENANT_REDIS_HOST",
    ]
    .into_iter()
    .filter(|name| case.variables.given(name))
    .collect();
    // A chart's global settings are there for the products that are multi-tenant.
    if set.is_empty() || case.variables.from_chart {
        return;
    }
    let message = format!("{} set, and MULTI_TENANT_ENABLED is not true", join(&set));
    let finding = Finding::new("tenancy-off-but-set", Effect::Ignored, message);
    case.about("MULTI_TENANT_ENABLED", finding);
}

fn join(names: &[&str]) -> String {
    match names {
        [one] => format!("{one} is"),
        [first @ .., last] => format!("{} and {last} are", first.join(", ")),
        [] => String::new(),
    }
}

fn url(case: &mut Case<'_>) {
    const NAME: &str = "MULTI_TENANT_URL";
    if !case.variables.given(NAME) {
        let finding = Finding::new(
            "url-missing",
            Effect::Refuses,
            "MULTI_TENANT_URL is not set",
        );
        case.about(NAME, finding);
        return;
    }
    let Some(text) = case.variables.text(NAME) else {
        return;
    };
    let parsed = url::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    let Some(parsed) = parsed else {
        let message = format!(
            "MULTI_TENANT_URL is {}, which is not an absolute http or https URL",
            case.quoted(NAME)
        );
        let finding = Finding::new("url-invalid", Effect::Refuses, message);
        // Its library does not look; every call fails instead.
        let effect = if case.product == Reporter {
            Effect::Degraded
        } else {
            Effect::Refuses
        };
        case.about(NAME, Finding { effect, ..finding });
        return;
    };
    if parsed.scheme() != "http" {
        return;
    }
    if !http_allowed(case) {
        let reason = if case.product.http_by_environment() {
            format!("ENV_NAME is {}", environment_shown(case))
        } else if case.product == Matcher {
            "the environment is not a local one".to_owned()
        } else {
            "MULTI_TENANT_ALLOW_INSECURE_HTTP is not true".to_owned()
        };
        let message = format!("MULTI_TENANT_URL is plain http, and {reason}");
        case.about(
            NAME,
            Finding::new("url-http-refused", Effect::Refuses, message),
        );
        return;
    }
    let local = host_of(text).is_some_and(|host| is_local(&host));
    let message = "MULTI_TENANT_URL is plain http: the API key and the tenants' passwords cross the network readable";
    let finding = Finding::new("url-http", Effect::Insecure, message);
    let severity = if local {
        Severity::Info
    } else {
        Severity::High
    };
    case.about(NAME, finding.severity(severity));
}

fn environment_shown(case: &Case<'_>) -> String {
    if case.variables.given("ENV_NAME") {
        case.quoted("ENV_NAME")
    } else {
        "not set".to_owned()
    }
}

/// Returns true when the product accepts a Tenant Manager over plain http.
pub(super) fn http_allowed(case: &Case<'_>) -> bool {
    let environment = case.environment();
    match case.product {
        Ledger | Ledger4 | Crm => LAX.contains(&environment.as_str()),
        Tracer | FetcherManager | FetcherWorker | Fees => case
            .variables
            .flag("MULTI_TENANT_ALLOW_INSECURE_HTTP", false),
        Matcher => {
            let own = case.variables.text("MULTI_TENANT_ENVIRONMENT");
            let environment = own.map_or(environment, str::to_lowercase);
            OWN_MACHINE.contains(&environment.as_str())
        }
        Reporter => true,
    }
}

fn deployment_mode(case: &mut Case<'_>) {
    const NAME: &str = "DEPLOYMENT_MODE";
    let mode = case.variables.text(NAME).unwrap_or_default().to_lowercase();
    match mode.as_str() {
        "saas" | "byoc" => {}
        "" | "local" => {
            if case.is(&[Ledger, Ledger4, Crm, Tracer]) && case.variables.raw(NAME).is_some() {
                let finding = Finding::new(
                    "deployment-mode-local",
                    Effect::Degraded,
                    "DEPLOYMENT_MODE is local in a multi-tenant deployment",
                );
                case.about(NAME, finding);
            } else if case.is(&[Ledger, Ledger4, Crm, Tracer]) && !case.variables.given(NAME) {
                let finding = Finding::new(
                    "deployment-mode-local",
                    Effect::Degraded,
                    "DEPLOYMENT_MODE is not set, which means local",
                );
                case.about(NAME, finding.severity(Severity::Info));
            }
        }
        _ => {
            let message = format!("DEPLOYMENT_MODE is {}", case.quoted(NAME));
            case.about(
                NAME,
                Finding::new("deployment-mode-unknown", Effect::Degraded, message),
            );
        }
    }
}
