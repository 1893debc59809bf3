//! Numbers: what 0 and nothing mean for each product.

use super::{Case, Effect, Finding, Severity};
use crate::boot::product::Product::{
    Crm, FetcherManager, FetcherWorker, Ledger, Ledger4, Matcher, Reporter,
};

/// Shortest cache that the Ledger's background workers can live with, in seconds.
const SHORTEST: i64 = 60;

pub(super) fn check(case: &mut Case<'_>) {
    if !case.multi_tenant {
        return;
    }
    cache(case);
    breaker(case);
    pools(case);
    if case.product == Matcher {
        positive(case);
    }
}

/// Returns true when the number is in a place that was not given.
fn hidden(case: &Case<'_>, name: &str) -> bool {
    case.variables.given(name) && case.variables.raw(name).is_none()
}

fn zero_or_unset(case: &Case<'_>, name: &str) -> String {
    if case.variables.given(name) {
        format!("{name} is {}", case.quoted(name))
    } else {
        format!("{name} is not set")
    }
}

fn cache(case: &mut Case<'_>) {
    const NAME: &str = "MULTI_TENANT_CACHE_TTL_SEC";
    if hidden(case, NAME) {
        return;
    }
    let seconds = case.variables.number(NAME);
    if case.is(&[Ledger, Ledger4, Crm]) {
        if seconds <= 0 {
            let message = format!(
                "{}: connections of tenants never expire, so a rotation or a suspension that is missed stays missed",
                zero_or_unset(case, NAME)
            );
            // Working events make up for it, which is why it is no boot-time breach by itself.
            let finding = Finding::new("cache-never-expires", Effect::Degraded, message);
            case.about(NAME, finding);
        } else if seconds < SHORTEST && case.is(&[Ledger, Ledger4]) {
            let message = format!(
                "{NAME} is {seconds}: background workers serve only tenants that had a request in the last {seconds} seconds"
            );
            case.about(
                NAME,
                Finding::new("cache-too-short", Effect::Degraded, message),
            );
        }
    } else if case.is(&[FetcherManager, FetcherWorker]) && seconds <= 0 {
        let message = format!(
            "{}: connections are cached for an hour",
            zero_or_unset(case, NAME)
        );
        case.about(
            NAME,
            Finding::new("cache-default-long", Effect::Degraded, message),
        );
    }
}

fn breaker(case: &mut Case<'_>) {
    const THRESHOLD: &str = "MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD";
    const TIMEOUT: &str = "MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC";
    let threshold = case.variables.number(THRESHOLD);
    let timeout = case.variables.number(TIMEOUT);
    match case.product {
        Crm if threshold <= 0 && !hidden(case, THRESHOLD) => {
            let message = format!("{}: there is no breaker", zero_or_unset(case, THRESHOLD));
            case.about(
                THRESHOLD,
                Finding::new("breaker-off", Effect::Degraded, message),
            );
        }
        FetcherManager | FetcherWorker
            if threshold > 0 && timeout <= 0 && !hidden(case, TIMEOUT) =>
        {
            let message = format!(
                "{}: the breaker opens for no time",
                zero_or_unset(case, TIMEOUT)
            );
            case.about(
                TIMEOUT,
                Finding::new("breaker-window-zero", Effect::Degraded, message),
            );
        }
        Reporter => {
            for name in [THRESHOLD, TIMEOUT] {
                if case.variables.number(name) <= 0 && !hidden(case, name) {
                    let message = format!("{}: it must be above 0", zero_or_unset(case, name));
                    case.about(
                        name,
                        Finding::new("breaker-missing", Effect::Refuses, message),
                    );
                }
            }
        }
        _ => {}
    }
}

fn pools(case: &mut Case<'_>) {
    const NAME: &str = "MULTI_TENANT_MAX_TENANT_POOLS";
    match case.product {
        Ledger | Ledger4 => {
            let finding = Finding::new(
                "pools-not-limitable",
                Effect::Note,
                "pools of every tenant stay open: no variable limits them",
            );
            case.add(finding);
        }
        Crm | Reporter if case.variables.number(NAME) <= 0 && !hidden(case, NAME) => {
            let message = format!(
                "{}: the number of tenants is unlimited",
                zero_or_unset(case, NAME)
            );
            case.about(
                NAME,
                Finding::new("pools-unlimited", Effect::Degraded, message),
            );
        }
        _ => {}
    }
}

/// Where other products take 0 as the default, the Matcher refuses it.
fn positive(case: &mut Case<'_>) {
    for name in [
        "MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD",
        "MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC",
        "MULTI_TENANT_CACHE_TTL_SEC",
        "MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC",
        "MULTI_TENANT_TIMEOUT",
        "MULTI_TENANT_MAX_TENANT_POOLS",
        "MULTI_TENANT_IDLE_TIMEOUT_SEC",
    ] {
        let given = case
            .variables
            .raw(name)
            .is_some_and(|text| !text.is_empty());
        if given && case.variables.number(name) <= 0 {
            let message = format!("{name} is {}, and must be above 0", case.quoted(name));
            let finding = Finding::new("number-not-positive", Effect::Refuses, message);
            case.about(name, finding.severity(Severity::High));
        }
    }
}
