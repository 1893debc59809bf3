//! Tenant lifecycle events on Redis pub/sub: envelope, types and payloads.
//!
//! Source: the shared reference `events`. The channel is `tenant-events:{env}:`, trailing colon
//! included; payload keys are `snake_case`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{Environment, ServiceName, Slug, TenantId};

/// Returns the channel that products of `environment` subscribe to.
///
/// `None` where products refuse to listen: anything but `staging` and `production`.
pub fn channel(environment: &Environment) -> Option<String> {
    environment
        .has_events()
        .then(|| format!("tenant-events:{environment}:"))
}

/// The thirteen event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    #[serde(rename = "tenant.created")]
    #[expect(missing_docs, reason = "the wire name says it")]
    TenantCreated,
    #[serde(rename = "tenant.activated")]
    #[expect(missing_docs, reason = "the wire name says it")]
    TenantActivated,
    #[serde(rename = "tenant.suspended")]
    #[expect(missing_docs, reason = "the wire name says it")]
    TenantSuspended,
    #[serde(rename = "tenant.deleted")]
    #[expect(missing_docs, reason = "the wire name says it")]
    TenantDeleted,
    #[serde(rename = "tenant.updated")]
    #[expect(missing_docs, reason = "the wire name says it")]
    TenantUpdated,
    #[serde(rename = "tenant.service.associated")]
    #[expect(missing_docs, reason = "the wire name says it")]
    ServiceAssociated,
    #[serde(rename = "tenant.service.disassociated")]
    #[expect(missing_docs, reason = "the wire name says it")]
    ServiceDisassociated,
    #[serde(rename = "tenant.service.suspended")]
    #[expect(missing_docs, reason = "the wire name says it")]
    ServiceSuspended,
    #[serde(rename = "tenant.service.purged")]
    #[expect(missing_docs, reason = "the wire name says it")]
    ServicePurged,
    #[serde(rename = "tenant.service.reactivated")]
    #[expect(missing_docs, reason = "the wire name says it")]
    ServiceReactivated,
    #[serde(rename = "tenant.credentials.rotated")]
    #[expect(missing_docs, reason = "the wire name says it")]
    CredentialsRotated,
    #[serde(rename = "tenant.connections.updated")]
    #[expect(missing_docs, reason = "the wire name says it")]
    ConnectionsUpdated,
    #[serde(rename = "tenant.cache.invalidate")]
    #[expect(missing_docs, reason = "the wire name says it")]
    CacheInvalidate,
}

impl EventType {
    /// Returns the wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantCreated => "tenant.created",
            Self::TenantActivated => "tenant.activated",
            Self::TenantSuspended => "tenant.suspended",
            Self::TenantDeleted => "tenant.deleted",
            Self::TenantUpdated => "tenant.updated",
            Self::ServiceAssociated => "tenant.service.associated",
            Self::ServiceDisassociated => "tenant.service.disassociated",
            Self::ServiceSuspended => "tenant.service.suspended",
            Self::ServicePurged => "tenant.service.purged",
            Self::ServiceReactivated => "tenant.service.reactivated",
            Self::CredentialsRotated => "tenant.credentials.rotated",
            Self::ConnectionsUpdated => "tenant.connections.updated",
            Self::CacheInvalidate => "tenant.cache.invalidate",
        }
    }
}

/// The message on the channel, one JSON object in one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// UUID of version 7, so that ids sort by time.
    #[serde(default)]
    pub event_id: String,
    /// Wire name of the type; unknown types are kept as they are.
    pub event_type: String,
    /// When it happened.
    #[schemars(with = "String")]
    pub timestamp: Timestamp,
    /// Canonical tenant id.
    pub tenant_id: String,
    /// Slug, informational.
    #[serde(default)]
    pub tenant_slug: String,
    /// Environment, informational; products never check it.
    #[serde(default)]
    pub environment: String,
    /// Payload of service-scoped types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}

impl Envelope {
    /// Builds an event about `tenant`.
    pub fn new(
        event_type: EventType,
        at: Timestamp,
        tenant: (&TenantId, &Slug, &Environment),
        payload: Option<serde_json::Value>,
    ) -> Self {
        Self {
            event_id: uuid::Uuid::now_v7().to_string(),
            event_type: event_type.as_str().to_owned(),
            timestamp: at,
            tenant_id: tenant.0.to_string(),
            tenant_slug: tenant.1.to_string(),
            environment: tenant.2.to_string(),
            payload,
        }
    }
}

/// Payload of `tenant.service.associated` and, without the first two, of `…reactivated`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssociatedPayload {
    /// Service.
    pub service_name: String,
    /// `isolated` or `schema`.
    pub isolation_mode: String,
    /// Modules with a datastore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Pool settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_settings: Option<PoolPayload>,
}

/// Pool settings inside an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolPayload {
    /// Open connections per pool.
    pub max_open_conns: u32,
    /// Idle connections per pool.
    pub max_idle_conns: u32,
    /// PostgreSQL duration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statement_timeout: String,
}

/// Returns the payload that names just the service: `…purged`.
pub fn service_payload(service: &ServiceName) -> serde_json::Value {
    serde_json::json!({ "service_name": service })
}
