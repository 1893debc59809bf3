//! What the registry holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::contract::admin::{
    AssociationRecord, AssociationStatus, DatabaseRecord, OperationRecord, OperationState,
    OperationStep, PlannedStep, TenantRecord, TenantStatus,
};
use crate::contract::catalogue::Catalogue;
use crate::contract::event::EventType;
use crate::contract::wire::{ConnectionSettings, IsolationMode};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::provision::{Cluster, DatabaseSpec, Slot, Step};

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

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationKind {
    /// Make or repair databases.
    Provision,
    /// Change limits on the roles, then the settings handed out.
    Update,
    /// Prepare, prove and hand out new credentials.
    Rotate,
    /// Close the login that was handed out before a rotation.
    Retire,
    /// Remove a service.
    Remove,
    /// Remove a tenant with everything it has.
    Purge,
}

impl OperationKind {
    /// Returns the wire word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::Retire => "retire",
            Self::Remove => "remove",
            Self::Purge => "purge",
        }
    }

    /// Understands the wire word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Self::Provision,
            Self::Update,
            Self::Rotate,
            Self::Retire,
            Self::Remove,
            Self::Purge,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// Parameters of an operation that its steps need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Parameters {
    /// Seconds that the login before stays valid after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grace_seconds: Option<u64>,
    /// Settings to apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<ConnectionSettings>,
    /// Whether data goes too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drop_data: bool,
    /// Act even if an event was not published yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) immediate: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "work")]
pub(crate) enum Work {
    /// A step on a cluster, with the credentials of `version`.
    Cluster {
        /// Service.
        service: ServiceName,
        /// Module.
        module: String,
        /// What to do.
        apply: Step,
        /// Version of the credentials it needs.
        version: u32,
    },
    /// Hand out a provisioned service.
    Activate {
        /// Service.
        service: ServiceName,
        /// Version of the credentials.
        version: u32,
        /// Modules that become ready.
        modules: Vec<String>,
    },
    /// Hand out new credentials.
    HandOut {
        /// Service.
        service: ServiceName,
        /// Their version.
        version: u32,
    },
    /// Forget retired credentials.
    Retired {
        /// Service.
        service: ServiceName,
        /// Their version.
        version: u32,
    },
    /// Hand out new pool settings.
    Settings {
        /// Service.
        service: ServiceName,
    },
    /// Wait a moment for the events of the change to be published.
    AwaitEvents,
    /// Note what was removed.
    Removed {
        /// Service.
        service: ServiceName,
    },
}

impl Work {
    /// Returns the module that the step belongs to; steps of different modules run side by side.
    pub(crate) fn lane(&self) -> Option<(&ServiceName, &str)> {
        match self {
            Self::Cluster {
                service, module, ..
            } => Some((service, module)),
            _ => None,
        }
    }

    /// Returns the service that the step belongs to; services are worked on side by side, and a
    /// step of none waits for all before it.
    pub(crate) fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Cluster { service, .. }
            | Self::Activate { service, .. }
            | Self::HandOut { service, .. }
            | Self::Retired { service, .. }
            | Self::Settings { service }
            | Self::Removed { service } => Some(service),
            Self::AwaitEvents => None,
        }
    }
}

/// A step to record.
#[derive(Debug, Clone)]
pub(crate) struct NewStep {
    /// What it does.
    pub(crate) work: Work,
    /// How it is shown.
    pub(crate) planned: PlannedStep,
}

/// An operation to begin.
#[derive(Debug, Clone)]
pub(crate) struct NewOperation {
    /// UUID of version 7.
    pub(crate) id: String,
    /// What for.
    pub(crate) kind: OperationKind,
    /// Services concerned.
    pub(crate) services: Vec<ServiceName>,
    /// Steps in order.
    pub(crate) steps: Vec<NewStep>,
    /// Parameters.
    pub(crate) parameters: Parameters,
    /// Not before this time.
    pub(crate) not_before: Option<Timestamp>,
    /// What it waits for.
    pub(crate) note: Option<String>,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
}

impl NewOperation {
    /// Builds an operation with a new id.
    pub(crate) fn new(
        kind: OperationKind,
        services: Vec<ServiceName>,
        steps: Vec<NewStep>,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            services,
            steps,
            parameters: Parameters::default(),
            not_before: None,
            note: None,
            created_at,
        }
    }

    /// Returns the record that operators see, before anything was done.
    pub(crate) fn record(&self, tenant: &Tenant) -> OperationRecord {
        OperationRecord {
            id: self.id.clone(),
            kind: self.kind.as_str().to_owned(),
            tenant_id: tenant.id.clone(),
            tenant_slug: tenant.slug.clone(),
            services: self.services.clone(),
            state: OperationState::Pending,
            steps: self
                .steps
                .iter()
                .map(|step| OperationStep {
                    action: step.planned.action.clone(),
                    target: step.planned.target.clone(),
                    state: OperationState::Pending,
                    detail: String::new(),
                })
                .collect(),
            error: self.note.clone(),
            attempts: 0,
            created_at: self.created_at,
            updated_at: self.created_at,
        }
    }
}

/// A recorded operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// Order among all operations.
    pub(crate) sequence: i64,
    /// UUID of version 7.
    pub(crate) id: String,
    /// What for.
    pub(crate) kind: OperationKind,
    /// Tenant.
    pub(crate) tenant_id: TenantId,
    /// Slug of the tenant.
    pub(crate) tenant_slug: Slug,
    /// Services concerned.
    pub(crate) services: Vec<ServiceName>,
    /// State.
    pub(crate) state: OperationState,
    /// Steps in order.
    pub(crate) steps: Vec<StepRow>,
    /// Parameters.
    pub(crate) parameters: Parameters,
    /// Why it failed, or what it waits for.
    pub(crate) error: Option<String>,
    /// Times it was taken up.
    pub(crate) attempts: u32,
    /// Setbacks in a row.
    pub(crate) failures: u32,
    /// Not before this time.
    pub(crate) not_before: Option<Timestamp>,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
    /// When it last changed.
    pub(crate) updated_at: Timestamp,
}

impl Operation {
    /// Returns the positions of the steps that can be begun now: the first one left of each
    /// module, up to the first step that waits for all before it.
    pub(crate) fn ready_steps(&self) -> Vec<u32> {
        let mut lanes = Vec::new();
        let mut blocked = Vec::new();
        let mut ready = Vec::new();
        for step in &self.steps {
            if step.state == OperationState::Succeeded {
                continue;
            }
            let service = step.work.service();
            let lane = step.work.lane();
            if service.is_none() {
                if ready.is_empty() && blocked.is_empty() {
                    ready.push(step.position);
                }
                break;
            }
            if lane.is_some() && lanes.contains(&lane) || blocked.contains(&service) {
                continue;
            }
            if lane.is_none() {
                // Waits for the modules of its service.
                let waits = lanes
                    .iter()
                    .flatten()
                    .any(|(other, _)| Some(*other) == service);
                blocked.push(service);
                if waits {
                    continue;
                }
            }
            lanes.push(lane);
            ready.push(step.position);
        }
        ready
    }

    /// Returns the record that operators see.
    pub(crate) fn record(&self) -> OperationRecord {
        OperationRecord {
            id: self.id.clone(),
            kind: self.kind.as_str().to_owned(),
            tenant_id: self.tenant_id.clone(),
            tenant_slug: self.tenant_slug.clone(),
            services: self.services.clone(),
            state: self.state,
            steps: self
                .steps
                .iter()
                .map(|step| OperationStep {
                    action: step.action.clone(),
                    target: step.target.clone(),
                    state: step.state,
                    detail: step.detail.clone(),
                })
                .collect(),
            error: self.error.clone(),
            attempts: self.attempts,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// A recorded step.
#[derive(Debug, Clone)]
pub(crate) struct StepRow {
    /// Position in the operation.
    pub(crate) position: u32,
    /// What it does.
    pub(crate) work: Work,
    /// How it is shown.
    pub(crate) action: String,
    /// How its target is shown.
    pub(crate) target: String,
    /// State.
    pub(crate) state: OperationState,
    /// What was found or proved.
    pub(crate) detail: String,
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
