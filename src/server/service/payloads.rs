//! Events as the contract wants them: envelope and payloads.

use serde_json::{Value, json};

use crate::contract::ServiceName;
use crate::contract::admin::AssociationStatus;
use crate::contract::event::{AssociatedPayload, Envelope, EventType, PoolPayload, channel};
use crate::contract::wire::ConnectionSettings;
use crate::server::registry::{Association, NewEvent, Tenant};

/// Builds an event about `tenant`, to be kept with the change that causes it.
pub(crate) fn event(tenant: &Tenant, event_type: EventType, payload: Option<Value>) -> NewEvent {
    let at = tenant.updated_at;
    let envelope = Envelope::new(
        event_type,
        at,
        (&tenant.id, &tenant.slug, &tenant.environment),
        payload,
    );
    NewEvent {
        event_type,
        channel: channel(&tenant.environment),
        id: envelope.event_id.clone(),
        body: serde_json::to_string(&envelope).expect("an event serialises"),
        at,
    }
}

/// Returns pool settings as events carry them; nothing when products keep their defaults.
fn pool(settings: &ConnectionSettings) -> Option<PoolPayload> {
    (*settings != ConnectionSettings::default()).then(|| PoolPayload {
        max_open_conns: settings.max_open_conns,
        max_idle_conns: settings.max_idle_conns,
        statement_timeout: settings.statement_timeout.clone(),
    })
}

/// Payload of `tenant.service.associated`.
pub(crate) fn associated(service: &ServiceName, association: &Association) -> Value {
    json!(AssociatedPayload {
        service_name: service.to_string(),
        isolation_mode: association.isolation_mode.wire().to_owned(),
        modules: association
            .ready_databases()
            .map(|(module, _)| module.clone())
            .collect(),
        connection_settings: pool(&association.settings),
    })
}

/// Payload of `tenant.service.suspended`.
pub(crate) fn suspended(service: &ServiceName, previous: AssociationStatus) -> Value {
    json!({ "service_name": service, "previous_status": previous.as_str() })
}

/// Payload of `tenant.service.reactivated`.
pub(crate) fn reactivated(service: &ServiceName, association: &Association) -> Value {
    let mut payload = json!({
        "service_name": service,
        "previous_status": AssociationStatus::Suspended.as_str(),
        "re_provisioned": false,
    });
    if let Some(settings) = pool(&association.settings) {
        payload["connection_settings"] = json!(settings);
    }
    payload
}

/// Payload of `tenant.service.disassociated`.
pub(crate) fn disassociated(service: &ServiceName, preserve_data: bool) -> Value {
    json!({ "service_name": service, "preserve_data": preserve_data })
}

/// Payload of `tenant.credentials.rotated`. Products ignore the path; it names the place, not
/// the secret.
pub(crate) fn rotated(tenant: &Tenant, service: &ServiceName) -> Value {
    json!({
        "service_name": service,
        "credential_type": "postgresql",
        "new_secret_path": format!(
            "tenants/{}/{}/{service}/postgres", tenant.environment, tenant.id
        ),
    })
}

/// Payload of `tenant.connections.updated`.
pub(crate) fn connections_updated(
    service: &ServiceName,
    module: &str,
    settings: &ConnectionSettings,
) -> Value {
    let mut payload = json!({
        "service_name": service,
        "module": module,
        "max_open_conns": settings.max_open_conns,
        "max_idle_conns": settings.max_idle_conns,
    });
    if !settings.statement_timeout.is_empty() {
        payload["statement_timeout"] = json!(settings.statement_timeout);
    }
    payload
}

/// Payload of `tenant.cache.invalidate`.
pub(crate) fn invalidate(service: &ServiceName, reason: Option<&str>) -> Value {
    match reason {
        Some(reason) => json!({ "service_name": service, "reason": reason }),
        None => json!({ "service_name": service }),
    }
}
