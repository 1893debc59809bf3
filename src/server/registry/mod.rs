//! The registry: what the Tenant Manager knows, behind one trait.
//!
//! Writers read a tenant, compute the next one and commit it together with credentials,
//! operations and events. A commit is refused as stale when the tenant changed since it was
//! read, so rules stay pure and any number of writers is safe.

pub(crate) mod audit;
pub(crate) mod isolation;
pub(crate) mod keys;
pub(crate) mod migrations;
pub(crate) mod model;
mod operation;
pub(crate) mod postgres;
pub(crate) mod secrets;
pub(crate) mod sqlite;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::audit::MacKey;
use crate::contract::audit::{AuditHead, AuditRecord};
use crate::contract::wire::{ActiveTenant, IsolationMode};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::link::postgres::SessionUse;
use crate::provision::DatabaseSpec;

use audit::{AuditFilter, AuditRow};
use isolation::{CheckDone, CheckState, StoredReport};
pub(crate) use keys::{AccessKey, KeyCursor, KeyFilter, NewAccessKey};
pub(crate) use model::{
    Association, AssociationState, Credential, Database, DatabaseState, NewEvent, OutboxRow, Pair,
    StoredOwner, Tenant,
};
use secrets::{KeyChange, Resealed, SealedCounts, SealedPlace, SealedValue, StoredKeys};

pub(crate) use operation::{
    NewOperation, NewStep, Operation, OperationKind, Origin, StepRow, Work,
};

/// Why the registry could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RegistryError {
    /// The tenant changed since it was read, or its slug or id was taken meanwhile: read again.
    #[error("the tenant was changed by someone else meanwhile")]
    Stale,
    /// Disk full, I/O error, closed: worth trying again.
    #[error("the registry is not available: {0}")]
    Unavailable(String),
    /// Lost while it was being changed: whether the change was made is not known.
    #[error("the registry went away during a change, which may have been made: {0}")]
    Unclear(String),
    /// What is stored cannot be understood.
    #[error("the registry holds something unexpected: {0}")]
    Corrupt(String),
}

/// What another server on the same registry has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signal {
    /// There may be an operation to work on.
    Work,
    /// There may be events to publish.
    Mail,
    /// An operation changed.
    Operation(String),
    /// Someone is about to change something, and waits for the read leases to be given back.
    Leases,
    /// Anything may have happened: word of it may have been lost.
    Anything,
}

/// What was changed, by whichever server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// Who was changed after the number that was asked about.
    pub(crate) tenants: Vec<TenantId>,
    /// Number of the last change.
    pub(crate) last: i64,
    /// How often keys were changed, see [`Registry::access_keys_revision`].
    pub(crate) keys: i64,
}

/// How a tenant is looked up.
#[derive(Debug, Clone)]
pub(crate) enum TenantKey<'a> {
    /// By canonical id.
    Id(&'a TenantId),
    /// By slug.
    Slug(&'a Slug),
}

/// What a list of tenants is narrowed by.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantFilter {
    /// Part of the slug, name, id or owner's address, lower-case.
    pub(crate) search: Option<String>,
    /// Status word; purged tenants are left out when absent.
    pub(crate) status: Option<String>,
    /// Environment.
    pub(crate) environment: Option<String>,
    /// Associated with this service.
    pub(crate) service: Option<String>,
}

/// Where a page of databases begins: after this tenant, service and module.
pub(crate) type DatabaseCursor = (TenantId, ServiceName, String);

/// What a list of operations is narrowed by.
#[derive(Debug, Clone, Default)]
pub(crate) struct OperationFilter {
    /// Of this tenant.
    pub(crate) tenant: Option<TenantId>,
    /// In this state.
    pub(crate) state: Option<crate::contract::admin::OperationState>,
}

/// An answer that is given again when a request is repeated with the same idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    /// Digest of key, method and path.
    pub(crate) key: String,
    /// Digest of the body.
    pub(crate) fingerprint: String,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Body of the answer.
    pub(crate) body: String,
}

/// A change of one tenant; all of it happens, or nothing.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The tenant as it is to be; `revision` is the one that was read, 0 for a new tenant.
    pub(crate) tenant: Tenant,
    /// Credentials to keep, replacing those of the same service, module and version.
    pub(crate) credentials: Vec<Credential>,
    /// Credentials to forget: those of a service up to a version.
    pub(crate) forget: Vec<(ServiceName, u32)>,
    /// Operations to begin.
    pub(crate) operations: Vec<NewOperation>,
    /// Operations that this change makes pointless, with what to say about each.
    pub(crate) supersede: Vec<(String, String)>,
    /// Scheduled operations that are due at another time now.
    pub(crate) reschedule: Vec<(String, Timestamp)>,
    /// The step of an operation that this change is.
    pub(crate) step: Option<StepDone>,
    /// Events, in order.
    pub(crate) events: Vec<NewEvent>,
    /// Answer to keep for a repeated request.
    pub(crate) replay: Option<Replay>,
    /// What the audit log says of it.
    pub(crate) audit: Vec<AuditRecord>,
}

impl Commit {
    /// Begins a change that leaves `tenant` as it is given.
    pub(crate) fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            credentials: Vec::new(),
            forget: Vec::new(),
            operations: Vec::new(),
            supersede: Vec::new(),
            reschedule: Vec::new(),
            step: None,
            events: Vec::new(),
            replay: None,
            audit: Vec::new(),
        }
    }
}

/// A step that was done.
#[derive(Debug, Clone)]
pub(crate) struct StepDone {
    /// Id of the operation.
    pub(crate) operation: String,
    /// Number of the attempt that did it; nothing is noted once another attempt has begun.
    pub(crate) attempt: u32,
    /// Its position.
    pub(crate) position: u32,
    /// What was found or proved.
    pub(crate) detail: String,
    /// The step that is begun next because of it.
    pub(crate) next: Option<u32>,
}

/// How an attempt at an operation ended short of success.
#[derive(Debug, Clone)]
pub(crate) enum Setback {
    /// Try again at that time; it keeps its place in the tenant's queue.
    Retry(Timestamp),
    /// Not begun: look again at that time; operations behind it go first.
    Defer(Timestamp),
    /// Given up, at the step of this position.
    Failed(Option<u32>),
}

/// Figures for `/metrics`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statistics {
    /// Operations that have not succeeded, by state word.
    pub(crate) operations: BTreeMap<&'static str, i64>,
    /// Events that wait to be published.
    pub(crate) outbox_depth: i64,
    /// When the oldest of them was made.
    pub(crate) outbox_oldest: Option<Timestamp>,
    /// Events kept without a channel to publish them on.
    pub(crate) outbox_undeliverable: i64,
}

/// Storage of the Tenant Manager.
#[async_trait]
pub(crate) trait Registry: fmt::Debug + Send + Sync + 'static {
    /// Returns a tenant with its associations and databases.
    async fn tenant(&self, key: TenantKey<'_>) -> Result<Option<Tenant>, RegistryError>;
    /// Returns up to `limit` tenants by slug, after `after`.
    async fn tenants(
        &self,
        filter: &TenantFilter,
        after: Option<&Slug>,
        limit: u32,
    ) -> Result<Vec<Tenant>, RegistryError>;
    /// Returns up to `limit` tenants that `service` is active for, by id, after `after`; of
    /// `environments` only unless there are none.
    async fn active(
        &self,
        service: &str,
        environments: &[Environment],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ActiveTenant>, RegistryError>;
    /// Counts the tenants that `service` is active for, of `environments` only unless there are
    /// none.
    async fn count_active(
        &self,
        service: &str,
        environments: &[Environment],
    ) -> Result<u64, RegistryError>;
    /// Returns up to `limit` databases that exist, by tenant, service and module.
    async fn databases(
        &self,
        tenant: Option<&TenantId>,
        service: Option<&ServiceName>,
        after: Option<&DatabaseCursor>,
        limit: u32,
    ) -> Result<Vec<(Database, u32)>, RegistryError>;
    /// Returns a ready database of another tenant on `cluster`, of the same mode if there is one.
    async fn foreign_database(
        &self,
        cluster: &str,
        mode: IsolationMode,
        not: &TenantId,
    ) -> Result<Option<DatabaseSpec>, RegistryError>;
    /// Returns a tenant and the sealed credentials that `service` is handed out, by module, as
    /// they are at one moment.
    async fn handed_out(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
    ) -> Result<Option<(Tenant, BTreeMap<String, String>)>, RegistryError>;
    /// Returns the sealed credentials of a service's modules, of one version.
    async fn credentials(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
        version: u32,
    ) -> Result<BTreeMap<String, String>, RegistryError>;

    /// Makes a change of one tenant, in one transaction; survives a power cut once it returns.
    async fn commit(&self, commit: Commit) -> Result<(), RegistryError>;

    /// Returns an operation with its steps.
    async fn operation(&self, id: &str) -> Result<Option<Operation>, RegistryError>;
    /// Returns up to `limit` operations, newest first, older than `before`.
    async fn operations(
        &self,
        filter: &OperationFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Operation>, RegistryError>;
    /// Returns the operations of a tenant that have not ended, oldest first.
    async fn unfinished(&self, tenant: &TenantId) -> Result<Vec<Operation>, RegistryError>;
    /// Returns ids and tenants of operations to work on now: the first in line of each tenant.
    async fn due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(String, TenantId)>, RegistryError>;
    /// Returns when the next operation becomes due, if one waits for a time.
    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, RegistryError>;
    /// Makes all operations due that nobody works on, and returns those of them that an earlier
    /// run of this very server left behind: for its start.
    async fn interrupted(&self) -> Result<Vec<String>, RegistryError>;
    /// Takes an operation for this server and begins the next attempt at it; nothing when it has
    /// ended, or when it or another operation of its tenant is being worked on elsewhere.
    async fn begin(&self, id: &str) -> Result<Option<Operation>, RegistryError>;
    /// Notes that a step was done, and that the operation succeeded when none is left. Stale
    /// when the operation has ended or another attempt has begun.
    async fn step_done(&self, done: StepDone) -> Result<(), RegistryError>;
    /// Notes how an attempt ended; `None` when it was not begun. Nothing when the operation has
    /// ended or another attempt has begun.
    async fn setback(
        &self,
        id: &str,
        attempt: Option<u32>,
        setback: Setback,
        reason: &str,
    ) -> Result<(), RegistryError>;
    /// Returns how long an operation that was begun stays with this server unless it is renewed;
    /// `None` when nobody else can take it.
    fn lease(&self) -> Option<Duration>;
    /// Keeps operations with this server; returns those that still are.
    async fn renew(&self, ids: &[String]) -> Result<Vec<String>, RegistryError>;
    /// Lets go of an operation that was begun and is not worked on any longer.
    async fn release(&self, id: &str, attempt: u32) -> Result<(), RegistryError>;

    /// Returns true while this server is the one that publishes events; asked before each batch.
    /// Nobody else may publish until `grace` after the last time that the answer was true.
    async fn leads(&self, grace: Duration) -> Result<bool, RegistryError>;
    /// Returns up to `limit` events to publish, in order, after the sequence `after`.
    async fn outbox(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, RegistryError>;
    /// Returns true when the tenant has an event to publish that is not paced.
    async fn outbox_urgent(&self, tenant: &TenantId) -> Result<bool, RegistryError>;
    /// Returns true when an event of the tenant made no later than `until` is not published.
    async fn outbox_waits(
        &self,
        tenant: &TenantId,
        until: Timestamp,
    ) -> Result<bool, RegistryError>;
    /// Notes how many subscribers received each event.
    async fn published(&self, receivers: Vec<(i64, u64)>) -> Result<(), RegistryError>;

    /// Returns how often keys were changed: cheap, and asked all the time.
    async fn access_keys_revision(&self) -> Result<i64, RegistryError>;
    /// Returns every key that is active at `now`.
    async fn active_access_keys(&self, now: Timestamp) -> Result<Vec<AccessKey>, RegistryError>;
    /// Returns the keys of this id or name, ended ones included, the newest first.
    async fn access_keys_named(&self, name: &str) -> Result<Vec<AccessKey>, RegistryError>;
    /// Returns up to `limit` keys, the newest first, before `before`.
    async fn access_keys(
        &self,
        filter: &KeyFilter,
        before: Option<&KeyCursor>,
        limit: u32,
    ) -> Result<Vec<AccessKey>, RegistryError>;
    /// Keeps a new key. Stale when its name is taken, or when the key that it takes over from has
    /// ended or has a successor.
    async fn add_access_key(&self, key: NewAccessKey) -> Result<(), RegistryError>;
    /// Withdraws keys.
    async fn revoke_access_keys(
        &self,
        ids: Vec<String>,
        at: Timestamp,
        audit: Vec<AuditRecord>,
    ) -> Result<(), RegistryError>;
    /// Notes when keys were last used.
    async fn access_keys_used(&self, uses: Vec<(String, Timestamp)>) -> Result<(), RegistryError>;

    /// Returns the answer kept under an idempotency key.
    async fn replay(&self, key: &str) -> Result<Option<Replay>, RegistryError>;
    /// Forgets published events and kept answers from before these times.
    async fn prune(&self, events: Timestamp, replays: Timestamp) -> Result<u64, RegistryError>;
    /// Replaces the keys that servers are started with by those with these digests, and records
    /// that in the audit log; keeps the stored ones when there is nothing to replace them by.
    /// Returns the digests of the accepted ones.
    async fn api_keys(&self, digests: Option<Vec<String>>) -> Result<Vec<String>, RegistryError>;

    /// Returns what others do from now on; `None` when there can be no others.
    fn signals(&self) -> Option<mpsc::UnboundedReceiver<Signal>>;
    /// Returns who was changed after the change number `after`, the number of the last change,
    /// and how often keys were changed; only the numbers when `after` is `None`. Whatever was
    /// acknowledged before the call is in it.
    async fn changes(&self, after: Option<i64>) -> Result<Changes, RegistryError>;
    /// Takes or prolongs this server's read lease for `time`: until it ends or is given back, no
    /// server changes a tenant or a key. Returns false while a change is being made.
    async fn take_read_lease(&self, time: Duration) -> Result<bool, RegistryError>;
    /// Ends this server's read lease.
    async fn give_back_read_lease(&self) -> Result<(), RegistryError>;
    /// Returns the longest time to go without a look at what is to be done.
    fn look_every(&self) -> Duration;
    /// Returns the keys that seal what is secret, wrapped.
    async fn data_keys(&self) -> Result<StoredKeys, RegistryError>;
    /// Changes those keys, in one transaction with what the audit log says of it.
    async fn change_data_keys(
        &self,
        change: KeyChange,
        audit: Vec<AuditRecord>,
    ) -> Result<(), RegistryError>;
    /// Counts sealed values by key.
    async fn sealed_counts(&self) -> Result<SealedCounts, RegistryError>;
    /// Returns up to `limit` values that a key has sealed, in the order of their places, after
    /// `after`; fewer than `limit` do not mean that there are no more, none do.
    async fn sealed_with(
        &self,
        key: &str,
        after: Option<&SealedPlace>,
        limit: u32,
    ) -> Result<Vec<SealedValue>, RegistryError>;
    /// Replaces sealed values that are still as they were read; returns how many.
    async fn reseal(&self, values: Vec<Resealed>) -> Result<u64, RegistryError>;

    /// Takes the key that vouches for entries of the audit log; before that, nothing that is to
    /// be recorded there is done. Ends of operations are recorded without being asked for.
    fn audit_with(&self, key: Arc<MacKey>);
    /// Adds records to the audit log, in order and all of them or none.
    async fn append_audit(&self, records: Vec<AuditRecord>) -> Result<(), RegistryError>;
    /// Returns up to `limit` entries of the audit log, beyond the one at `beyond`.
    async fn audit(
        &self,
        filter: &AuditFilter,
        beyond: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, RegistryError>;
    /// Returns the end of the audit log.
    async fn audit_head(&self) -> Result<AuditHead, RegistryError>;

    /// Returns what is known of the check of isolation that servers run by themselves.
    async fn check_state(&self) -> Result<CheckState, RegistryError>;
    /// Returns its last report.
    async fn check_report(&self) -> Result<Option<StoredReport>, RegistryError>;
    /// Notes that a run of it is asked for.
    async fn ask_check(&self, audit: Vec<AuditRecord>) -> Result<(), RegistryError>;
    /// Takes it for this server when it is due, `every` so often or because it is asked for, and
    /// nobody has it; false otherwise.
    async fn begin_check(&self, run: &str, every: Duration) -> Result<bool, RegistryError>;
    /// Keeps a run with this server; false when it is not its own any longer.
    async fn renew_check(&self, run: &str) -> Result<bool, RegistryError>;
    /// Keeps what came of a run; false, and nothing is kept, when it is not this server's own any
    /// longer.
    async fn end_check(&self, done: CheckDone) -> Result<bool, RegistryError>;

    /// Writes something, to know that writing works.
    async fn writable(&self) -> Result<(), RegistryError>;
    /// Returns how its sessions for reads are used; they wait for one when all are busy.
    fn sessions(&self) -> SessionUse;
    /// Returns figures for `/metrics`.
    async fn statistics(&self) -> Result<Statistics, RegistryError>;
    /// Runs statements for the numbers from `first` to `last`, to see what many rows cost.
    #[cfg(test)]
    async fn fill(&self, sql: &str, first: u32, last: u32);
    /// Finishes what was asked for and lets go of the files.
    async fn close(&self);
}
