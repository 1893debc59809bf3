//! What the registry holds about tenants, and the events about them.

use std::collections::BTreeMap;

use crate::contract::admin::{
    AssociationRecord, AssociationStatus, DatabaseRecord, TenantRecord, TenantStatus,
};
use crate::contract::catalogue::Catalogue;
use crate::contract::event::EventType;
use crate::contract::wire::{ConnectionSettings, IsolationMode};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::provision::{Cluster, DatabaseSpec, Slot};
use jiff::Timestamp;

/// Returns the present time in whole microseconds, which is what the registry keeps.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// Returns the login slot of a credentials version.
pub(crate) fn slot(version: u32) -> Slot {
    usize::from(version.is_multiple_of(2))
}

/// A tenant with its associations.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    /// Canonical id.
    pub(crate) id: TenantId,
    /// Human handle.
    pub(crate) slug: Slug,
    /// Display name.
    pub(crate) name: String,
    /// Environment.
    pub(crate) environment: Environment,
    /// Default isolation mode of its associations.
    pub(crate) isolation_mode: IsolationMode,
    /// State.
    pub(crate) status: TenantStatus,
    /// Free text pairs.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Owner.
    pub(crate) owner: StoredOwner,
    /// Associations by service.
    pub(crate) associations: BTreeMap<ServiceName, Association>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it last changed.
    pub(crate) updated_at: Timestamp,
    /// Counts changes; 0 before the first.
    pub(crate) revision: i64,
}

/// Owner of a tenant, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredOwner {
    /// E-mail address; may be empty.
    pub(crate) email: String,
    /// Sealed bcrypt hash.
    pub(crate) sealed_password_hash: Option<String>,
    /// Whether the address was verified.
    pub(crate) email_verified: bool,
}

/// Administrative state of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssociationState {
    /// To be served once it is ready.
    Live,
    /// Refused until reactivated.
    Suspended,
    /// Removed, or its tenant purged.
    Purged,
}

impl AssociationState {
    /// Returns the word that is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Suspended => "suspended",
            Self::Purged => "purged",
        }
    }
}

/// An association of a tenant with a service.
#[derive(Debug, Clone)]
pub(crate) struct Association {
    /// Isolation mode.
    pub(crate) isolation_mode: IsolationMode,
    /// Administrative state.
    pub(crate) state: AssociationState,
    /// Whether its databases were made and proved, so that they may be handed out.
    pub(crate) ready: bool,
    /// Version of the credentials handed out; 0 before the first.
    pub(crate) version: u32,
    /// Pool settings.
    pub(crate) settings: ConnectionSettings,
    /// Databases by module.
    pub(crate) databases: BTreeMap<String, Database>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it last changed.
    pub(crate) updated_at: Timestamp,
}

impl Association {
    /// Returns the state as operators see it.
    pub(crate) fn status(&self) -> AssociationStatus {
        match (self.state, self.ready) {
            (AssociationState::Purged, _) => AssociationStatus::Purged,
            (AssociationState::Suspended, _) => AssociationStatus::Suspended,
            (AssociationState::Live, false) => AssociationStatus::Provisioning,
            (AssociationState::Live, true) => AssociationStatus::Active,
        }
    }

    /// Returns the databases that are handed out.
    pub(crate) fn ready_databases(&self) -> impl Iterator<Item = (&String, &Database)> {
        self.databases
            .iter()
            .filter(|(_, database)| database.state == DatabaseState::Ready)
    }
}

/// State of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseState {
    /// Being made.
    Pending,
    /// Made and proved.
    Ready,
    /// Kept after its association was removed.
    Retained,
    /// Dropped.
    Dropped,
}

impl DatabaseState {
    /// Returns the word that is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Retained => "retained",
            Self::Dropped => "dropped",
        }
    }
}

/// A database, or a schema in a shared one.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// What and where it is.
    pub(crate) spec: DatabaseSpec,
    /// State.
    pub(crate) state: DatabaseState,
}

impl Database {
    /// Returns the record that operators see; `version` is the one handed out.
    pub(crate) fn record(&self, version: u32, clusters: &[Cluster]) -> DatabaseRecord {
        let spec = &self.spec;
        let cluster = clusters.iter().find(|c| c.name == spec.cluster);
        DatabaseRecord {
            tenant_id: spec.tenant_id.clone(),
            tenant_slug: spec.tenant_slug.clone(),
            service: spec.service.clone(),
            module: spec.module.clone(),
            isolation_mode: spec.mode,
            cluster: spec.cluster.clone(),
            host: cluster.map_or_else(String::new, |c| c.public_host.clone()),
            port: cluster.map_or(0, |c| c.public_port),
            database: spec.names.database.clone(),
            schema: spec.names.schema.clone(),
            owner: spec.names.owner.clone(),
            login: spec.names.logins[slot(version.max(1))].clone(),
        }
    }
}

/// What the connections endpoint says of a tenant and a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    /// No such association.
    Unknown,
    /// Its databases are being made.
    Provisioning,
    /// Handed out.
    Active,
    /// Refused with `suspended`.
    Suspended,
    /// Refused with `purged`.
    Purged,
}

impl Tenant {
    /// Returns what the connections endpoint says of `service`.
    pub(crate) fn pair(&self, service: &ServiceName) -> Pair {
        let Some(association) = self.associations.get(service) else {
            return Pair::Unknown;
        };
        match (self.status, association.status()) {
            (TenantStatus::Purged, _) | (_, AssociationStatus::Purged) => Pair::Purged,
            (TenantStatus::Suspended, _) | (_, AssociationStatus::Suspended) => Pair::Suspended,
            (TenantStatus::Active, AssociationStatus::Provisioning) => Pair::Provisioning,
            (TenantStatus::Active, AssociationStatus::Active) => Pair::Active,
        }
    }

    /// Returns the record that operators see.
    pub(crate) fn record(&self, catalogue: &Catalogue, clusters: &[Cluster]) -> TenantRecord {
        let services = self
            .associations
            .iter()
            .map(|(service, association)| AssociationRecord {
                service: service.clone(),
                isolation_mode: association.isolation_mode,
                status: association.status(),
                credentials_version: u64::from(association.version),
                connection_settings: association.settings.clone(),
                databases: association
                    .databases
                    .values()
                    .filter(|database| database.state != DatabaseState::Dropped)
                    .map(|database| database.record(association.version, clusters))
                    .collect(),
                not_provisioned: not_provisioned(catalogue, service),
            })
            .collect();
        TenantRecord {
            id: self.id.clone(),
            slug: self.slug.clone(),
            name: self.name.clone(),
            environment: self.environment.clone(),
            isolation_mode: self.isolation_mode,
            status: self.status,
            metadata: self.metadata.clone(),
            owner_email: self.owner.email.clone(),
            services,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Returns the stores of a service that this server does not provision, as `module/store`.
pub(crate) fn not_provisioned(catalogue: &Catalogue, service: &ServiceName) -> Vec<String> {
    catalogue.get(service).map_or_else(Vec::new, |entry| {
        entry
            .not_provisioned()
            .into_iter()
            .map(|(module, store)| format!("{module}/{}", store.as_str()))
            .collect()
    })
}

/// Sealed credentials of one module, of one version.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    /// Service.
    pub(crate) service: ServiceName,
    /// Module.
    pub(crate) module: String,
    /// Version, from 1.
    pub(crate) version: u32,
    /// Sealed password.
    pub(crate) sealed: String,
}

/// An event to keep in the outbox.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// Type.
    pub(crate) event_type: EventType,
    /// Channel; `None` when products of the environment do not listen.
    pub(crate) channel: Option<String>,
    /// Id of the event.
    pub(crate) id: String,
    /// The message, one line of JSON.
    pub(crate) body: String,
    /// When it happened.
    pub(crate) at: Timestamp,
}

/// An event that waits to be published.
#[derive(Debug, Clone)]
pub(crate) struct OutboxRow {
    /// Order among all events.
    pub(crate) sequence: i64,
    /// Tenant.
    pub(crate) tenant_id: TenantId,
    /// Type.
    pub(crate) event_type: String,
    /// Channel.
    pub(crate) channel: String,
    /// The message.
    pub(crate) body: String,
    /// Whether products are slow to handle it, so that bursts are spread.
    pub(crate) paced: bool,
    /// Id of the event.
    pub(crate) event_id: String,
}

/// Returns true for events that make products sleep up to five seconds each.
pub(crate) fn is_paced(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::CredentialsRotated | EventType::CacheInvalidate
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_alternate_between_the_two_logins() {
        assert_eq!([1, 2, 3, 4].map(slot), [0, 1, 0, 1]);
    }
}
