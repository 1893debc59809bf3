//! The registry on PostgreSQL, for any number of servers at once.
//!
//! Reads are one statement each, and so one moment of the registry. Changes of one tenant lock its
//! row. Operations are taken with a lease (`operations`), one server publishes events (`others`),
//! and every change has a number by which other servers learn that what they remember is old.

mod api_keys;
mod audit;
mod commit;
mod isolation;
mod keys;
mod migrations;
mod operations;
mod others;
mod outbox;
mod secrets;
mod session;
mod tenants;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc};

use super::audit::{AuditFilter, AuditRow};
use super::isolation::{CheckDone, CheckState, StoredReport};
use super::migrations::MigrationState;
use super::secrets::{KeyChange, Resealed, SealedCounts, SealedPlace, SealedValue, StoredKeys};
use super::{
    AccessKey, Changes, Commit, Database, DatabaseCursor, KeyCursor, KeyFilter, NewAccessKey,
    Operation, OperationFilter, OutboxRow, Registry, RegistryError, Replay, Setback, Signal,
    Statistics, StepDone, Tenant, TenantFilter, TenantKey,
};
use crate::audit::MacKey;
use crate::contract::audit::{AuditHead, AuditRecord};
use crate::contract::wire::{ActiveTenant, IsolationMode};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::link::postgres::{Pool, PostgresEndpoint, SessionUse};
use crate::provision::DatabaseSpec;

use others::{Feed, Leadership};
use session::{OPTIONS, execute};

pub(in crate::server) use session::sql_error as said;

/// Sessions for reads and changes; a few more have a purpose of their own.
const SESSIONS: usize = 12;
/// Word of what other servers do may be lost: nothing waits for longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest name that PostgreSQL keeps whole, less what is put in front of it.
const LONGEST_SCHEMA: usize = 50;

/// The registry on PostgreSQL.
pub(crate) struct PostgresRegistry {
    endpoint: PostgresEndpoint,
    pool: Pool,
    /// Name of this server among those on the registry, new at every start.
    instance: String,
    /// Where servers tell each other what they do.
    channel: String,
    feed: Mutex<Option<Feed>>,
    leadership: Mutex<Option<Leadership>>,
    closed: AtomicBool,
    audit_key: RwLock<Option<Arc<MacKey>>>,
}

impl fmt::Debug for PostgresRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresRegistry({})", self.endpoint.describe())
    }
}

/// Returns the endpoint with `schema` pinned; refuses a name that would need quotes.
fn in_schema(endpoint: &PostgresEndpoint, schema: &str) -> Result<PostgresEndpoint, String> {
    let plain = !schema.is_empty()
        && schema.len() <= LONGEST_SCHEMA
        && schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && schema
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !schema.starts_with("pg_");
    if !plain {
        return Err(format!(
            "its schema has up to {LONGEST_SCHEMA} lower-case letters, digits and `_`, and does not start with a digit or `pg_`"
        ));
    }
    Ok(PostgresEndpoint {
        search_path: Some(schema.to_owned()),
        ..endpoint.clone()
    })
}

impl PostgresRegistry {
    /// Opens the registry in `schema`, making or updating it if needed.
    pub(crate) async fn open(endpoint: &PostgresEndpoint, schema: &str) -> Result<Self, String> {
        Self::migrate(endpoint, schema, false).await?;
        let endpoint = in_schema(endpoint, schema)?;
        let pool = endpoint
            .primary_pool(SESSIONS, OPTIONS)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            endpoint,
            pool,
            instance: uuid::Uuid::new_v4().to_string(),
            channel: format!("lerianctl_{schema}"),
            feed: Mutex::new(None),
            leadership: Mutex::new(None),
            closed: AtomicBool::new(false),
            audit_key: RwLock::default(),
        })
    }

    /// Brings the schema up to date, or says what there is to do; returns its migrations.
    pub(crate) async fn migrate(
        endpoint: &PostgresEndpoint,
        schema: &str,
        dry_run: bool,
    ) -> Result<Vec<MigrationState>, String> {
        let endpoint = in_schema(endpoint, schema)?;
        let session = endpoint.try_connect("-c lock_timeout=60s").await;
        let mut session = session.map_err(|error| error.to_string())?;
        let states = migrations::migrate(&mut session, schema, dry_run).await;
        session.close().await;
        states
    }

    /// Returns where the schema is.
    #[cfg(test)]
    pub(crate) fn endpoint(&self) -> &PostgresEndpoint {
        &self.endpoint
    }

    /// Runs statements as a stranger would, to see what comes of it.
    #[cfg(test)]
    pub(crate) async fn try_sql(&self, sql: &str) {
        let session = self.endpoint.connect().await.expect("PostgreSQL is there");
        session.batch_execute(sql).await.expect("it can be done");
    }

    /// Runs a statement that is to be refused; returns how.
    #[cfg(test)]
    pub(crate) async fn refuses_sql(&self, sql: &str) -> String {
        let session = self.endpoint.connect().await.expect("PostgreSQL is there");
        let refused = session.batch_execute(sql).await;
        session::sql_error(&refused.expect_err("it is refused"))
    }

    /// Ends the sessions that have a purpose of their own, as a broken network does.
    #[cfg(test)]
    pub(crate) async fn lose_sessions(&self) {
        let mut pids: Vec<i32> = Vec::new();
        let own = "SELECT pg_backend_pid()";
        if let Some(feed) = self.feed.lock().await.as_ref() {
            pids.push(
                feed.session
                    .query_one(own, &[])
                    .await
                    .expect("alive")
                    .get(0),
            );
        }
        if let Some(mine) = self.leadership.lock().await.as_ref() {
            pids.push(
                mine.session
                    .query_one(own, &[])
                    .await
                    .expect("alive")
                    .get(0),
            );
        }
        let session = self.endpoint.connect().await.expect("PostgreSQL is there");
        let listening = format!("LISTEN {}", self.channel);
        session
            .query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid = ANY ($1) OR query = $2",
                &[&pids, &listening],
            )
            .await
            .expect("they can be ended");
    }

    fn open_still(&self) -> Result<(), RegistryError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(RegistryError::Unavailable("it is closed".into()));
        }
        Ok(())
    }

    /// Tells other servers something, once the transaction is committed.
    async fn tell(
        &self,
        transaction: &Transaction<'_>,
        what: &str,
    ) -> Result<(), tokio_postgres::Error> {
        execute(
            transaction,
            "SELECT pg_notify($1, $2)",
            &[&self.channel, &what],
        )
        .await?;
        Ok(())
    }

    /// Tells other servers that an operation changed.
    async fn tell_of(
        &self,
        transaction: &Transaction<'_>,
        operation: &str,
    ) -> Result<(), tokio_postgres::Error> {
        self.tell(transaction, &format!("operation {operation}"))
            .await
    }
}

/// Adds to a statement.
fn write(sql: &mut String, more: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = fmt::Write::write_fmt(sql, more);
}

/// Returns a limit as PostgreSQL wants it.
fn count(limit: u32) -> i64 {
    i64::from(limit)
}

/// Returns a number as it is stored.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Understands a stored number.
fn number(stored: i32) -> Result<u32, RegistryError> {
    u32::try_from(stored).map_err(|error| RegistryError::Corrupt(error.to_string()))
}

#[async_trait]
impl Registry for PostgresRegistry {
    async fn tenant(&self, key: TenantKey<'_>) -> Result<Option<Tenant>, RegistryError> {
        tenants::load(self, &key).await
    }

    async fn tenants(
        &self,
        filter: &TenantFilter,
        after: Option<&Slug>,
        limit: u32,
    ) -> Result<Vec<Tenant>, RegistryError> {
        tenants::page(self, filter, after, limit).await
    }

    async fn count_active(
        &self,
        service: &str,
        environments: &[Environment],
    ) -> Result<u64, RegistryError> {
        tenants::count_active(self, service, environments).await
    }

    async fn active(
        &self,
        service: &str,
        environments: &[Environment],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ActiveTenant>, RegistryError> {
        tenants::active(self, service, environments, after, limit).await
    }

    async fn databases(
        &self,
        tenant: Option<&TenantId>,
        service: Option<&ServiceName>,
        after: Option<&DatabaseCursor>,
        limit: u32,
    ) -> Result<Vec<(Database, u32)>, RegistryError> {
        tenants::databases(self, tenant, service, after, limit).await
    }

    async fn foreign_database(
        &self,
        cluster: &str,
        mode: IsolationMode,
        not: &TenantId,
    ) -> Result<Option<DatabaseSpec>, RegistryError> {
        tenants::foreign_database(self, cluster, mode, not).await
    }

    async fn handed_out(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
    ) -> Result<Option<(Tenant, BTreeMap<String, String>)>, RegistryError> {
        tenants::handed_out(self, tenant, service).await
    }

    async fn credentials(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
        version: u32,
    ) -> Result<BTreeMap<String, String>, RegistryError> {
        tenants::credentials(self, tenant, service, version).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), RegistryError> {
        commit::commit(self, commit).await
    }

    async fn operation(&self, id: &str) -> Result<Option<Operation>, RegistryError> {
        operations::load(self, id).await
    }

    async fn operations(
        &self,
        filter: &OperationFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Operation>, RegistryError> {
        operations::page(self, filter, before, limit).await
    }

    async fn unfinished(&self, tenant: &TenantId) -> Result<Vec<Operation>, RegistryError> {
        operations::unfinished(self, tenant).await
    }

    async fn due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(String, TenantId)>, RegistryError> {
        operations::due(self, now, limit).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, RegistryError> {
        operations::next_due(self, now).await
    }

    async fn interrupted(&self) -> Result<Vec<String>, RegistryError> {
        operations::interrupted(self).await
    }

    async fn begin(&self, id: &str) -> Result<Option<Operation>, RegistryError> {
        operations::begin(self, id).await
    }

    async fn step_done(&self, done: StepDone) -> Result<(), RegistryError> {
        operations::step_done(self, &done).await
    }

    async fn setback(
        &self,
        id: &str,
        attempt: Option<u32>,
        setback: Setback,
        reason: &str,
    ) -> Result<(), RegistryError> {
        operations::setback(self, id, attempt, &setback, reason).await
    }

    fn lease(&self) -> Option<Duration> {
        Some(operations::LEASE)
    }

    async fn renew(&self, ids: &[String]) -> Result<Vec<String>, RegistryError> {
        operations::renew(self, ids).await
    }

    async fn release(&self, id: &str, attempt: u32) -> Result<(), RegistryError> {
        operations::release(self, id, attempt).await
    }

    async fn leads(&self, grace: Duration) -> Result<bool, RegistryError> {
        others::leads(self, grace).await
    }

    async fn outbox(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, RegistryError> {
        outbox::page(self, after, limit).await
    }

    async fn outbox_urgent(&self, tenant: &TenantId) -> Result<bool, RegistryError> {
        outbox::urgent(self, tenant).await
    }

    async fn outbox_waits(
        &self,
        tenant: &TenantId,
        until: Timestamp,
    ) -> Result<bool, RegistryError> {
        outbox::waits(self, tenant, until).await
    }

    async fn published(&self, receivers: Vec<(i64, u64)>) -> Result<(), RegistryError> {
        outbox::published(self, &receivers).await
    }

    async fn replay(&self, key: &str) -> Result<Option<Replay>, RegistryError> {
        outbox::replay(self, key).await
    }

    async fn prune(&self, events: Timestamp, replays: Timestamp) -> Result<u64, RegistryError> {
        outbox::prune(self, events, replays).await
    }

    async fn api_keys(&self, digests: Option<Vec<String>>) -> Result<Vec<String>, RegistryError> {
        api_keys::replace(self, digests.as_deref()).await
    }

    async fn access_keys_revision(&self) -> Result<i64, RegistryError> {
        keys::revision(self).await
    }

    async fn active_access_keys(&self, now: Timestamp) -> Result<Vec<AccessKey>, RegistryError> {
        keys::active(self, now).await
    }

    async fn access_keys_named(&self, name: &str) -> Result<Vec<AccessKey>, RegistryError> {
        keys::named(self, name).await
    }

    async fn access_keys(
        &self,
        filter: &KeyFilter,
        before: Option<&KeyCursor>,
        limit: u32,
    ) -> Result<Vec<AccessKey>, RegistryError> {
        keys::page(self, filter, before, limit).await
    }

    async fn add_access_key(&self, key: NewAccessKey) -> Result<(), RegistryError> {
        keys::add(self, &key).await
    }

    async fn revoke_access_keys(
        &self,
        ids: Vec<String>,
        at: Timestamp,
        records: Vec<AuditRecord>,
    ) -> Result<(), RegistryError> {
        keys::revoke(self, &ids, at, &records).await
    }

    async fn access_keys_used(&self, uses: Vec<(String, Timestamp)>) -> Result<(), RegistryError> {
        keys::used(self, &uses).await
    }

    async fn data_keys(&self) -> Result<StoredKeys, RegistryError> {
        secrets::keys(self).await
    }

    async fn change_data_keys(
        &self,
        change: KeyChange,
        records: Vec<AuditRecord>,
    ) -> Result<(), RegistryError> {
        secrets::change(self, &change, &records).await
    }

    fn audit_with(&self, key: Arc<MacKey>) {
        *self
            .audit_key
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    async fn append_audit(&self, records: Vec<AuditRecord>) -> Result<(), RegistryError> {
        audit::append_alone(self, &records).await
    }

    async fn audit(
        &self,
        filter: &AuditFilter,
        beyond: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, RegistryError> {
        audit::page(self, filter, beyond, limit).await
    }

    async fn audit_head(&self) -> Result<AuditHead, RegistryError> {
        audit::head(self).await
    }

    async fn sealed_counts(&self) -> Result<SealedCounts, RegistryError> {
        secrets::count(self).await
    }

    async fn sealed_with(
        &self,
        key: &str,
        after: Option<&SealedPlace>,
        limit: u32,
    ) -> Result<Vec<SealedValue>, RegistryError> {
        secrets::sealed_with(self, key, after, limit).await
    }

    async fn reseal(&self, values: Vec<Resealed>) -> Result<u64, RegistryError> {
        secrets::reseal(self, &values).await
    }

    async fn check_state(&self) -> Result<CheckState, RegistryError> {
        isolation::state(self).await
    }

    async fn check_report(&self) -> Result<Option<StoredReport>, RegistryError> {
        isolation::report(self).await
    }

    async fn ask_check(&self, records: Vec<AuditRecord>) -> Result<(), RegistryError> {
        isolation::ask(self, &records).await
    }

    async fn begin_check(&self, run: &str, every: Duration) -> Result<bool, RegistryError> {
        isolation::begin(self, run, every).await
    }

    async fn renew_check(&self, run: &str) -> Result<bool, RegistryError> {
        isolation::renew(self, run).await
    }

    async fn end_check(&self, done: CheckDone) -> Result<bool, RegistryError> {
        isolation::end(self, &done).await
    }

    fn signals(&self) -> Option<mpsc::UnboundedReceiver<Signal>> {
        Some(others::signals(self))
    }

    async fn changes(&self, after: Option<i64>) -> Result<Changes, RegistryError> {
        others::changes(self, after).await
    }

    async fn take_read_lease(&self, time: Duration) -> Result<bool, RegistryError> {
        others::take_read_lease(self, time).await
    }

    async fn give_back_read_lease(&self) -> Result<(), RegistryError> {
        others::give_back_read_lease(self).await
    }

    fn look_every(&self) -> Duration {
        LOOK_EVERY
    }

    async fn writable(&self) -> Result<(), RegistryError> {
        self.rows(
            "INSERT INTO meta VALUES ('written_at', $1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            &[&Timestamp::now().to_string()],
        )
        .await?;
        Ok(())
    }

    fn sessions(&self) -> SessionUse {
        SessionUse::of(&self.pool)
    }

    async fn statistics(&self) -> Result<Statistics, RegistryError> {
        let mut statistics = Statistics {
            operations: operations::tally(self).await?,
            ..Statistics::default()
        };
        outbox::tally(self, &mut statistics).await?;
        Ok(statistics)
    }

    #[cfg(test)]
    async fn fill(&self, sql: &str, first: u32, last: u32) {
        let sql = sql
            .replace("SERIES_ID", "lpad(to_hex(n), 32, '0')")
            .replace("SERIES", &format!("generate_series({first}, {last}) n"));
        self.try_sql(&format!("{sql}; ANALYZE tenants, associations"))
            .await;
    }

    async fn close(&self) {
        others::let_go(self).await;
        self.closed.store(true, Ordering::Relaxed);
        // Without it others wait until the lease has ended.
        let _ = others::give_back_read_lease(self).await;
        self.feed.lock().await.take();
        self.pool.close();
    }
}
