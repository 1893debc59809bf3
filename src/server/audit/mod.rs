//! What the server writes into the audit log: who asked for what, from where, and what came of it.
//!
//! A change is recorded in the transaction that makes it. Everything else that is asked for and
//! refused, or leaves things as they are, is recorded before it is answered. Reads of credentials
//! and failed authentication, which may be very many, are taken together over a moment
//! ([`Reads`]).

mod reads;

pub(crate) use reads::{Read, Reads, flush, unavailable};

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::auth::Caller;
use super::registry::model::now;
use crate::audit::actions;
use crate::contract::TenantId;
use crate::contract::audit::AuditRecord;

pub(crate) use crate::audit::actions::AUTH_REFUSED;
/// Longest text of a caller's that is taken over.
const LONGEST: usize = 200;

/// What came of a request, as far as it is known inside.
#[derive(Debug, Clone, Default)]
struct Outcome {
    tenant: Option<TenantId>,
    plan: Option<String>,
    /// Set when nothing was changed and nothing refused.
    quiet: Option<&'static str>,
    recorded: bool,
}

/// A request that may change something: an extension of it, filled in on its way.
#[derive(Debug, Clone)]
pub(crate) struct Trail(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    action: String,
    caller: Caller,
    request: String,
    target: Option<String>,
    service: Option<String>,
    outcome: Mutex<Outcome>,
}

impl Trail {
    /// Notes what is asked for, and by whom.
    pub(crate) fn new(
        caller: Caller,
        request: &str,
        action: String,
        target: Option<&str>,
        service: Option<&str>,
    ) -> Self {
        Self(Arc::new(Facts {
            action,
            caller,
            request: request.to_owned(),
            target: target.map(shown),
            service: service.map(shown),
            outcome: Mutex::default(),
        }))
    }

    fn outcome(&self, change: impl FnOnce(&mut Outcome)) {
        change(
            &mut self
                .0
                .outcome
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Notes which tenant it is about.
    pub(crate) fn about(&self, tenant: &TenantId) {
        self.outcome(|outcome| outcome.tenant = Some(tenant.clone()));
    }

    /// Notes the plan that it comes to.
    pub(crate) fn planned(&self, hash: &str) {
        self.outcome(|outcome| outcome.plan = Some(hash.to_owned()));
    }

    /// Notes that nothing was changed, and why: `unchanged`, `planned`, `replayed`.
    pub(crate) fn quiet(&self, word: &'static str) {
        self.outcome(|outcome| outcome.quiet = Some(word));
    }

    /// Notes that the change is in the log.
    pub(crate) fn recorded(&self) {
        self.outcome(|outcome| outcome.recorded = true);
    }

    /// Returns true when the change is in the log already.
    pub(crate) fn is_recorded(&self) -> bool {
        let mut recorded = false;
        self.outcome(|outcome| recorded = outcome.recorded);
        recorded
    }

    /// Returns the record of what came of it.
    pub(crate) fn record(&self, status: u16, refusal: Option<&str>) -> AuditRecord {
        let facts = &self.0;
        let mut known = Outcome::default();
        self.outcome(|outcome| known = outcome.clone());
        let mut record = crate::audit::draft(facts.action.clone(), now());
        name(&mut record, Some(&facts.caller));
        record.peer = facts.caller.peer.map(|peer| ip(peer.ip()));
        record.request = Some(facts.request.clone());
        record.status = Some(status);
        record.service.clone_from(&facts.service);
        match known.tenant {
            Some(tenant) => record.tenant = Some(tenant.to_string()),
            None => record.target.clone_from(&facts.target),
        }
        record.plan = known.plan;
        record.result = refusal.or(known.quiet).unwrap_or("ok").to_owned();
        record
    }
}

/// Writes who a caller is into a record.
fn name(record: &mut AuditRecord, caller: Option<&Caller>) {
    let Some(caller) = caller else {
        "anonymous".clone_into(&mut record.caller);
        "none".clone_into(&mut record.caller_kind);
        return;
    };
    record.caller = caller.id.to_string();
    caller.kind.as_str().clone_into(&mut record.caller_kind);
    record.caller_name = Some(shown(&caller.name));
}

fn ip(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// Returns text that a caller chose, of bounded length and without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Returns the name of what a request asks for.
pub(crate) fn action(method: &str, route: &str, last: &str) -> String {
    let word = |noun: &str, verbs: &[&str]| {
        if verbs.contains(&last) {
            format!("{noun}.{last}")
        } else {
            format!("{noun}.unknown")
        }
    };
    match (method, route) {
        ("POST", "/v1/tenants" | "/v1/admin/tenants") => actions::TENANT_CREATE.to_owned(),
        ("PUT", "/v1/tenants/{id}/reactivate") => actions::TENANT_REACTIVATE.to_owned(),
        ("PATCH", "/v1/admin/tenants/{tenant}") => actions::TENANT_UPDATE.to_owned(),
        ("POST", "/v1/admin/tenants/{tenant}/verify") => actions::TENANT_VERIFY.to_owned(),
        ("POST", "/v1/admin/tenants/{tenant}/{action}") => word(
            "tenant",
            &[
                "suspend",
                "reactivate",
                "rotate",
                "purge",
                "provision",
                "invalidate",
            ],
        ),
        (
            "POST",
            "/v1/tenants/{id}/associations/{service}"
            | "/v1/admin/tenants/{tenant}/services/{service}",
        ) => actions::SERVICE_ADD.to_owned(),
        ("PUT", "/v1/tenants/{id}/associations/{service}/suspend") => {
            actions::SERVICE_SUSPEND.to_owned()
        }
        ("POST", "/v1/admin/tenants/{tenant}/services/{service}/{action}") => {
            word("service", &["suspend", "reactivate", "remove"])
        }
        ("POST", "/v1/admin/keys") => actions::KEY_CREATE.to_owned(),
        ("POST", "/v1/admin/keys/{key}/rotate") => actions::KEY_ROTATE.to_owned(),
        ("POST", "/v1/admin/keys/{key}/revoke") => actions::KEY_REVOKE.to_owned(),
        ("POST", "/v1/admin/isolation/check") => actions::ISOLATION_ASK.to_owned(),
        ("POST", "/v1/admin/rekey") => actions::KEYS_REKEY.to_owned(),
        ("GET" | "HEAD", "/v1/tenants/{id}/associations/{service}/connections") => {
            actions::CREDENTIALS_READ.to_owned()
        }
        (method, route) => format!("{method} {route}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_names_and_what_callers_make_up_is_none() {
        let route = "/v1/admin/tenants/{tenant}/{action}";
        assert_eq!(action("POST", route, "purge"), "tenant.purge");
        assert_eq!(action("POST", route, "x\ny"), "tenant.unknown");
        assert_eq!(action("POST", "/v1/new", "x"), "POST /v1/new");
        assert_eq!(shown(&format!("a\n{}", "b".repeat(500))).len(), LONGEST);
    }
}
