//! What products do with each event, as data.
//!
//! Source: the shared reference `events`, sections 5 and 6.

use crate::contract::event::EventType;

/// Every type, in the order of a tenant's life.
pub const TYPES: [EventType; 13] = [
    EventType::TenantCreated,
    EventType::TenantActivated,
    EventType::TenantUpdated,
    EventType::TenantSuspended,
    EventType::TenantDeleted,
    EventType::ServiceAssociated,
    EventType::ServiceSuspended,
    EventType::ServiceReactivated,
    EventType::ServiceDisassociated,
    EventType::ServicePurged,
    EventType::CredentialsRotated,
    EventType::ConnectionsUpdated,
    EventType::CacheInvalidate,
];

/// What the products' common library does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// What it does.
    pub action: &'static str,
    /// Whether products then ask the Tenant Manager, once per pod.
    pub asks_tenant_manager: bool,
    /// What an operator should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caveat: Option<&'static str>,
}

/// A product that does something else with an event than the library says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Deviation {
    /// Service as the Tenant Manager names it.
    pub service: &'static str,
    /// What it does instead.
    pub instead: &'static str,
}

/// Products that never listen: no event changes anything in them.
const DEAF: [Deviation; 2] = [
    Deviation {
        service: "matcher",
        instead: "does not listen; changes arrive by revalidation and TTL",
    },
    Deviation {
        service: "reporter",
        instead: "does not listen; its consumer polls every 30 s",
    },
];

const BEST_EFFORT: &str =
    "best effort: a pod without the tenant in its cache ignores it, so the service events matter";

/// Returns what the common library does with events of this type.
pub fn effect(event: EventType) -> Effect {
    let (action, asks_tenant_manager, caveat) = match event {
        EventType::TenantCreated => (
            "nothing: the tenant is loaded with its first request",
            false,
            None,
        ),
        EventType::TenantActivated => ("extends the cached entry, if there is one", false, None),
        EventType::TenantUpdated => (
            "extends the cached entry, if there is one",
            false,
            Some("nothing is fetched again: a changed configuration is not picked up"),
        ),
        EventType::TenantSuspended | EventType::TenantDeleted => (
            "drops the tenant: cached entries, pools and consumers",
            false,
            Some(BEST_EFFORT),
        ),
        EventType::ServiceAssociated => (
            "caches a placeholder and starts the tenant's workers",
            false,
            None,
        ),
        EventType::ServiceDisassociated
        | EventType::ServiceSuspended
        | EventType::ServicePurged => (
            "drops the tenant: cached entries, pools and consumers",
            false,
            Some(
                "a new request opens everything again unless the Tenant Manager answers 403 or 404",
            ),
        ),
        EventType::ServiceReactivated => (
            "waits up to 5 s, caches a placeholder and starts the tenant's workers",
            false,
            None,
        ),
        EventType::CredentialsRotated => (
            "drops the tenant, waits up to 5 s and loads it again",
            true,
            Some("in the ledger its workers stop until the reload or the next request"),
        ),
        EventType::ConnectionsUpdated => ("resizes the open PostgreSQL pools", false, None),
        EventType::CacheInvalidate => (
            "drops the tenant and, where it was in use, waits up to 5 s and loads it again",
            true,
            Some("products with lib-commons before 5.8 do not know it and ignore it"),
        ),
    };
    Effect {
        action,
        asks_tenant_manager,
        caveat,
    }
}

/// Returns the products that do something else.
pub fn deviations(event: EventType) -> Vec<Deviation> {
    let mut all = Vec::from(DEAF);
    let mut add = |service, instead| all.push(Deviation { service, instead });
    match event {
        EventType::ConnectionsUpdated => add(
            "ledger",
            "does nothing; pool sizes arrive by revalidation every 30 s",
        ),
        EventType::TenantSuspended | EventType::TenantDeleted => {
            add(
                "ledger",
                "ignores it for a tenant without a running consumer",
            );
            add(
                "tracer",
                "knows only tenants whose association it heard itself",
            );
        }
        EventType::CredentialsRotated | EventType::CacheInvalidate => add(
            "tracer",
            "closes the pool and stops the tenant's workers until its next request",
        ),
        _ => {}
    }
    let closes = matches!(
        event,
        EventType::TenantDeleted | EventType::ServiceSuspended | EventType::ServicePurged
    );
    if closes {
        add(
            "flowker",
            "closes pools whatever service and environment the event names",
        );
    }
    all
}

/// Returns true when products compare the payload's `service_name` with their own before they
/// act.
pub fn is_service_scoped(event: EventType) -> bool {
    let name = event.as_str();
    name.starts_with("tenant.service.")
        || matches!(
            event,
            EventType::CredentialsRotated
                | EventType::ConnectionsUpdated
                | EventType::CacheInvalidate
        )
}

/// Returns the type with this wire name.
pub fn known(name: &str) -> Option<EventType> {
    TYPES.into_iter().find(|known| known.as_str() == name)
}
