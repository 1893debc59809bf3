//! Who checks the token that names the tenant.

use super::{Case, Effect, Finding, Severity, host_of, is_cluster, is_local};
use crate::boot::product::Product::{Crm, Ledger, Ledger4, Matcher, Reporter, Tracer};

pub(super) fn check(case: &mut Case<'_>) {
    const SWITCH: &str = "PLUGIN_AUTH_ENABLED";
    // A switch in a place that was not given may well be on.
    let unknown = case.variables.given(SWITCH) && case.variables.raw(SWITCH).is_none();
    if case.auth {
        on(case);
    } else if !unknown {
        off(case);
    }
    if case.product == Tracer && case.multi_tenant {
        tracer(case);
    }
}

fn off(case: &mut Case<'_>) {
    if case.environment() == "production" && case.is(&[Ledger4, Reporter]) {
        let finding = Finding::new(
            "auth-required-production",
            Effect::Refuses,
            "ENV_NAME is production and PLUGIN_AUTH_ENABLED is not true",
        );
        case.about("PLUGIN_AUTH_ENABLED", finding);
    }
    if !case.multi_tenant {
        return;
    }
    let (effect, then, severity) = if case.is(&[Ledger, Ledger4, Crm, Tracer]) {
        (Effect::Refuses, "refuses to start", Severity::High)
    } else {
        (
            Effect::Insecure,
            "starts all the same, and nothing checks the token that names the tenant",
            Severity::Critical,
        )
    };
    let message = format!(
        "multi-tenant mode is on and PLUGIN_AUTH_ENABLED is not true: {} {then}",
        case.product
    );
    let finding = Finding::new("auth-required", effect, message);
    case.about("PLUGIN_AUTH_ENABLED", finding.severity(severity));
}

fn on(case: &mut Case<'_>) {
    address(case);
    if case.product == Matcher && !case.variables.given("AUTH_JWT_SECRET") {
        let finding = Finding::new(
            "auth-secret-missing",
            Effect::Refuses,
            "PLUGIN_AUTH_ENABLED is true and AUTH_JWT_SECRET is not set",
        );
        case.about("AUTH_JWT_SECRET", finding);
    }
}

fn tracer(case: &mut Case<'_>) {
    if case
        .variables
        .flag("API_KEY_ENABLED_ONLY_VALIDATION", false)
    {
        let finding = Finding::new(
            "api-key-only",
            Effect::Refuses,
            "API_KEY_ENABLED_ONLY_VALIDATION is true in multi-tenant mode",
        );
        case.about("API_KEY_ENABLED_ONLY_VALIDATION", finding);
    }
    let given = case.variables.given("TRACER_TLS_MODE");
    if !given || case.variables.text("TRACER_TLS_MODE") == Some("mesh") {
        let finding = Finding::new(
            "seam-in-clear",
            Effect::Note,
            "the reservation port takes the tenant from a header, and TRACER_TLS_MODE is not mtls",
        );
        case.about("TRACER_TLS_MODE", finding);
    }
}

fn address(case: &mut Case<'_>) {
    let name = case.product.auth_variable();
    if !case.variables.given(name) {
        let other = if name == "PLUGIN_AUTH_HOST" {
            "PLUGIN_AUTH_ADDRESS"
        } else {
            "PLUGIN_AUTH_HOST"
        };
        if case.product == Matcher {
            let message = format!("PLUGIN_AUTH_ENABLED is true and {name} is empty");
            let finding = Finding::new("auth-address-empty", Effect::Refuses, message)
                .severity(Severity::High);
            case.about(name, finding);
        } else if case.variables.given(other) {
            let message = format!(
                "the address of the Access Manager is in {other}, which {} does not read: no token is checked",
                case.product
            );
            let finding = Finding::new("auth-variable-swapped", Effect::Insecure, message)
                .remedy(format!("rename {other} to {name}"));
            case.about(other, finding);
        } else {
            let message = format!(
                "PLUGIN_AUTH_ENABLED is true and {name} is empty: no token is checked, and a token that anybody wrote opens any tenant"
            );
            let finding = Finding::new("auth-address-empty", Effect::Insecure, message)
                .remedy(format!("set {name}, such as http://plugin-auth:4000"));
            // Single-tenant, what lies open is one tenant's: still everything there is.
            let severity = if case.multi_tenant {
                Severity::Critical
            } else {
                Severity::High
            };
            case.about(name, finding.severity(severity));
        }
        return;
    }
    let Some(text) = case.variables.text(name) else {
        return;
    };
    let http = text.starts_with("http://");
    if !(http || text.starts_with("https://")) || host_of(text).is_none() {
        let message = format!("{name} is {}, which has no scheme", case.quoted(name));
        case.about(
            name,
            Finding::new("auth-address-relative", Effect::Degraded, message),
        );
        return;
    }
    if http {
        let host = host_of(text).unwrap_or_default();
        let near = is_local(&host) || is_cluster(&host);
        let message = format!("{name} is plain http");
        let finding = Finding::new("auth-address-http", Effect::Insecure, message);
        let severity = if near {
            Severity::Info
        } else {
            Severity::Medium
        };
        case.about(name, finding.severity(severity));
    }
}
