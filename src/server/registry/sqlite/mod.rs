//! The registry on SQLite: one writing thread, one read-only connection per worker.

mod api_keys;
mod audit;
mod isolation;
mod keys;
mod operations;
mod outbox;
mod secrets;
mod tenants;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::mpsc;

use super::audit::{AuditFilter, AuditRow};
use super::isolation::{CheckDone, CheckState, StoredReport};
use super::keys::bootstrap_replaced;
use super::migrations::{MigrationState, migrate, migrate_or_plan};
use super::secrets::{KeyChange, Resealed, SealedCounts, SealedPlace, SealedValue, StoredKeys};
use super::stored::{from_json, micros, parse, timestamp, to_json};
use super::{
    AccessKey, Changes, Commit, Database, DatabaseCursor, KeyCursor, KeyFilter, NewAccessKey,
    Operation, OperationFilter, OutboxRow, Registry, RegistryError, Replay, Setback, Signal,
    Statistics, StepDone, Tenant, TenantFilter, TenantKey,
};
use crate::audit::MacKey;
use crate::contract::audit::{AuditHead, AuditRecord};
use crate::contract::wire::{ActiveTenant, IsolationMode};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::link::postgres::SessionUse;
use crate::provision::DatabaseSpec;

pub(in crate::server) use writer::FileLock;
use writer::{Durability, Writer};

/// Free bytes below which the registry does not count as writable.
const LEAST_SPACE: u64 = 1024 * 1024;
/// Nobody else writes to the file, so that looking often would find nothing.
const LOOK_EVERY: Duration = Duration::from_mins(1);

impl From<rusqlite::Error> for RegistryError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Corrupt(error.to_string()),
        }
    }
}

/// The registry on SQLite.
#[derive(Debug)]
pub(crate) struct SqliteRegistry {
    path: PathBuf,
    writer: Writer,
    readers: Vec<Mutex<Connection>>,
    closed: AtomicBool,
    audit_key: RwLock<Option<Arc<MacKey>>>,
}

/// Opens a file that only its owner may read, making it if needed.
fn private_file(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

impl SqliteRegistry {
    /// Opens the registry at `path`, making it if needed, private to the user.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| format!("its folder cannot be made: {error}"))?;
        }
        let lock = FileLock::take(path)?;
        let writing = Self::made(path)?;

        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let readers = (0..workers + 2)
            .map(|_| {
                let reader = Connection::open_with_flags(
                    path,
                    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )?;
                Self::configure(&reader)?;
                Ok(Mutex::new(reader))
            })
            .collect::<rusqlite::Result<Vec<_>>>()
            .map_err(|error| error.to_string())?;
        let writer = Writer::start(writing, lock).map_err(|error| error.to_string())?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            readers,
            closed: AtomicBool::new(false),
            audit_key: RwLock::default(),
        })
    }

    /// Opens the file at `path` for writing, making or updating it if needed. The caller holds the
    /// lock.
    pub(in crate::server) fn made(path: &Path) -> Result<Connection, String> {
        private_file(path).map_err(|error| format!("it cannot be opened: {error}"))?;
        let mut writing = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(|error| error.to_string())?;
        Self::configure(&writing).map_err(|error| error.to_string())?;
        migrate(&mut writing).map_err(|error| error.to_string())?;
        let journal: String = writing
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(|error| error.to_string())?;
        if journal != "wal" {
            return Err(format!(
                "its file system does not allow a write-ahead log (SQLite chose `{journal}`)"
            ));
        }
        writing
            .execute_batch("PRAGMA foreign_keys = ON")
            .map_err(|error| error.to_string())?;
        Ok(writing)
    }

    /// Brings the file at `path` up to date, or says what there is to do; returns its migrations.
    pub(crate) fn migrate(path: &Path, dry_run: bool) -> Result<Vec<MigrationState>, String> {
        let said = |error: super::migrations::MigrationError| error.to_string();
        if dry_run && !path.exists() {
            let mut scratch = Connection::open_in_memory().map_err(|error| error.to_string())?;
            return migrate_or_plan(&mut scratch, true).map_err(said);
        }
        let _lock = FileLock::take(path)?;
        private_file(path).map_err(|error| format!("it cannot be opened: {error}"))?;
        let mut connection = Connection::open(path).map_err(|error| error.to_string())?;
        Self::configure(&connection).map_err(|error| error.to_string())?;
        migrate_or_plan(&mut connection, dry_run).map_err(said)
    }

    fn configure(connection: &Connection) -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::from_secs(2))?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(())
    }

    fn audit_key(&self) -> Option<Arc<MacKey>> {
        self.audit_key
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns a reading connection: the calling thread's own unless it is taken.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        let count = self.readers.len();
        let mine = MINE.with(|mine| *mine) % count;
        for offset in 0..count {
            if let Ok(guard) = self.readers[(mine + offset) % count].try_lock() {
                return guard;
            }
        }
        self.readers[mine]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `read` on what the registry holds at one moment.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(RegistryError::Unavailable("it is closed".into()));
        }
        let connection = self.reader();
        let snapshot = connection.unchecked_transaction()?;
        let result = read(&snapshot)?;
        snapshot.finish()?;
        Ok(result)
    }

    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        write: impl FnOnce(&Connection) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        self.writer.write(durability, write).await
    }

    /// Returns what is kept under `key` of the registry's own settings.
    #[cfg(test)]
    pub(crate) fn setting(&self, key: &str) -> Result<Option<String>, RegistryError> {
        use rusqlite::OptionalExtension as _;
        self.read(|connection| {
            Ok(connection
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                    row.get(0)
                })
                .optional()?)
        })
    }

    /// Keeps `value` under `key`.
    #[cfg(test)]
    pub(crate) async fn set_setting(&self, key: &str, value: String) -> Result<(), RegistryError> {
        let key = key.to_owned();
        self.write(Durability::PowerCut, move |connection| {
            connection.execute(
                "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )?;
            Ok(())
        })
        .await
    }

    /// Limits the size of the file, to see what a full disk does.
    #[cfg(test)]
    pub(crate) async fn limit_pages(&self, pages: u32) {
        self.write(Durability::ProcessDeath, move |connection| {
            connection.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
        .await
        .expect("the limit is set");
    }
}

#[async_trait]
impl Registry for SqliteRegistry {
    async fn tenant(&self, key: TenantKey<'_>) -> Result<Option<Tenant>, RegistryError> {
        self.read(|connection| tenants::load(connection, &key))
    }

    async fn tenants(
        &self,
        filter: &TenantFilter,
        after: Option<&Slug>,
        limit: u32,
    ) -> Result<Vec<Tenant>, RegistryError> {
        self.read(|connection| tenants::page(connection, filter, after, limit))
    }

    async fn count_active(
        &self,
        service: &str,
        environments: &[Environment],
    ) -> Result<u64, RegistryError> {
        self.read(|connection| tenants::count_active(connection, service, environments))
    }

    async fn active(
        &self,
        service: &str,
        environments: &[Environment],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ActiveTenant>, RegistryError> {
        self.read(|connection| tenants::active(connection, service, environments, after, limit))
    }

    async fn databases(
        &self,
        tenant: Option<&TenantId>,
        service: Option<&ServiceName>,
        after: Option<&DatabaseCursor>,
        limit: u32,
    ) -> Result<Vec<(Database, u32)>, RegistryError> {
        self.read(|connection| tenants::databases(connection, tenant, service, after, limit))
    }

    async fn foreign_database(
        &self,
        cluster: &str,
        mode: IsolationMode,
        not: &TenantId,
    ) -> Result<Option<DatabaseSpec>, RegistryError> {
        self.read(|connection| tenants::foreign_database(connection, cluster, mode, not))
    }

    async fn handed_out(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
    ) -> Result<Option<(Tenant, BTreeMap<String, String>)>, RegistryError> {
        self.read(|connection| {
            let Some(tenant) = tenants::load(connection, &TenantKey::Id(tenant))? else {
                return Ok(None);
            };
            let credentials = match tenant.associations.get(service) {
                Some(association) => {
                    tenants::credentials(connection, &tenant.id, service, association.version)?
                }
                None => BTreeMap::new(),
            };
            Ok(Some((tenant, credentials)))
        })
    }

    async fn credentials(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
        version: u32,
    ) -> Result<BTreeMap<String, String>, RegistryError> {
        self.read(|connection| tenants::credentials(connection, tenant, service, version))
    }

    async fn commit(&self, commit: Commit) -> Result<(), RegistryError> {
        let key = self.audit_key();
        self.write(Durability::PowerCut, move |connection| {
            tenants::commit(connection, key.as_deref(), &commit)
        })
        .await
    }

    async fn operation(&self, id: &str) -> Result<Option<Operation>, RegistryError> {
        self.read(|connection| operations::load(connection, id))
    }

    async fn operations(
        &self,
        filter: &OperationFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Operation>, RegistryError> {
        self.read(|connection| operations::page(connection, filter, before, limit))
    }

    async fn unfinished(&self, tenant: &TenantId) -> Result<Vec<Operation>, RegistryError> {
        self.read(|connection| operations::unfinished(connection, tenant))
    }

    async fn due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(String, TenantId)>, RegistryError> {
        self.read(|connection| operations::due(connection, now, limit))
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, RegistryError> {
        self.read(|connection| operations::next_due(connection, now))
    }

    async fn interrupted(&self) -> Result<Vec<String>, RegistryError> {
        self.write(Durability::ProcessDeath, operations::interrupted)
            .await
    }

    async fn begin(&self, id: &str) -> Result<Option<Operation>, RegistryError> {
        let id = id.to_owned();
        self.write(Durability::ProcessDeath, move |connection| {
            operations::begin(connection, &id)
        })
        .await
    }

    async fn step_done(&self, done: StepDone) -> Result<(), RegistryError> {
        let key = self.audit_key();
        self.write(Durability::ProcessDeath, move |connection| {
            operations::step_done(connection, key.as_deref(), &done)
        })
        .await
    }

    async fn setback(
        &self,
        id: &str,
        attempt: Option<u32>,
        setback: Setback,
        reason: &str,
    ) -> Result<(), RegistryError> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        let key = self.audit_key();
        self.write(Durability::ProcessDeath, move |connection| {
            operations::setback(connection, key.as_deref(), &id, attempt, &setback, &reason)
        })
        .await
    }

    fn lease(&self) -> Option<Duration> {
        None
    }

    async fn renew(&self, ids: &[String]) -> Result<Vec<String>, RegistryError> {
        Ok(ids.to_vec())
    }

    async fn release(&self, _: &str, _: u32) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn leads(&self, _: Duration) -> Result<bool, RegistryError> {
        Ok(true)
    }

    async fn outbox(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, RegistryError> {
        self.read(|connection| outbox::page(connection, after, limit))
    }

    async fn outbox_urgent(&self, tenant: &TenantId) -> Result<bool, RegistryError> {
        self.read(|connection| outbox::urgent(connection, tenant))
    }

    async fn outbox_waits(
        &self,
        tenant: &TenantId,
        until: Timestamp,
    ) -> Result<bool, RegistryError> {
        self.read(|connection| outbox::waits(connection, tenant, until))
    }

    async fn published(&self, receivers: Vec<(i64, u64)>) -> Result<(), RegistryError> {
        self.write(Durability::ProcessDeath, move |connection| {
            outbox::published(connection, &receivers)
        })
        .await
    }

    async fn access_keys_revision(&self) -> Result<i64, RegistryError> {
        self.read(keys::revision)
    }

    async fn active_access_keys(&self, now: Timestamp) -> Result<Vec<AccessKey>, RegistryError> {
        self.read(|connection| keys::active(connection, now))
    }

    async fn access_keys_named(&self, name: &str) -> Result<Vec<AccessKey>, RegistryError> {
        self.read(|connection| keys::named(connection, name))
    }

    async fn access_keys(
        &self,
        filter: &KeyFilter,
        before: Option<&KeyCursor>,
        limit: u32,
    ) -> Result<Vec<AccessKey>, RegistryError> {
        self.read(|connection| keys::page(connection, filter, before, limit))
    }

    async fn add_access_key(&self, key: NewAccessKey) -> Result<(), RegistryError> {
        let audit_key = self.audit_key();
        self.write(Durability::PowerCut, move |connection| {
            keys::add(connection, audit_key.as_deref(), &key)
        })
        .await
    }

    async fn revoke_access_keys(
        &self,
        ids: Vec<String>,
        at: Timestamp,
        records: Vec<AuditRecord>,
    ) -> Result<(), RegistryError> {
        let key = self.audit_key();
        self.write(Durability::PowerCut, move |connection| {
            keys::revoke(connection, &ids, at)?;
            audit::append(connection, key.as_deref(), &records)
        })
        .await
    }

    async fn access_keys_used(&self, uses: Vec<(String, Timestamp)>) -> Result<(), RegistryError> {
        self.write(Durability::ProcessDeath, move |connection| {
            keys::used(connection, &uses)
        })
        .await
    }

    async fn replay(&self, key: &str) -> Result<Option<Replay>, RegistryError> {
        self.read(|connection| outbox::replay(connection, key))
    }

    async fn prune(&self, events: Timestamp, replays: Timestamp) -> Result<u64, RegistryError> {
        let mut pruned = 0;
        loop {
            // Small bites, so that other writes are not kept waiting.
            let bite = self
                .write(Durability::ProcessDeath, move |connection| {
                    outbox::prune(connection, events, replays)
                })
                .await?;
            pruned += bite;
            if bite == 0 {
                return Ok(pruned);
            }
        }
    }

    async fn data_keys(&self) -> Result<StoredKeys, RegistryError> {
        self.read(secrets::keys)
    }

    async fn change_data_keys(
        &self,
        change: KeyChange,
        records: Vec<AuditRecord>,
    ) -> Result<(), RegistryError> {
        let key = self.audit_key();
        self.write(Durability::PowerCut, move |connection| {
            secrets::change(connection, &change)?;
            audit::append(connection, key.as_deref(), &records)
        })
        .await
    }

    async fn sealed_counts(&self) -> Result<SealedCounts, RegistryError> {
        self.read(secrets::count)
    }

    async fn sealed_with(
        &self,
        key: &str,
        after: Option<&SealedPlace>,
        limit: u32,
    ) -> Result<Vec<SealedValue>, RegistryError> {
        self.read(|connection| secrets::sealed_with(connection, key, after, limit))
    }

    async fn reseal(&self, values: Vec<Resealed>) -> Result<u64, RegistryError> {
        self.write(Durability::ProcessDeath, move |connection| {
            secrets::reseal(connection, &values)
        })
        .await
    }

    fn audit_with(&self, key: Arc<MacKey>) {
        *self
            .audit_key
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    async fn append_audit(&self, records: Vec<AuditRecord>) -> Result<(), RegistryError> {
        let key = self.audit_key();
        self.write(Durability::ProcessDeath, move |connection| {
            audit::append(connection, key.as_deref(), &records)
        })
        .await
    }

    async fn api_keys(&self, digests: Option<Vec<String>>) -> Result<Vec<String>, RegistryError> {
        let Some(digests) = digests else {
            return self.read(api_keys::stored);
        };
        let key = self.audit_key();
        self.write(Durability::PowerCut, move |connection| {
            let before = api_keys::stored(connection)?;
            api_keys::replace(connection, &digests)?;
            let after = api_keys::stored(connection)?;
            let record = bootstrap_replaced(&before, &after);
            if record.is_some() {
                keys::changed(connection)?;
            }
            audit::append(connection, key.as_deref(), record.as_slice())?;
            Ok(after)
        })
        .await
    }

    async fn audit(
        &self,
        filter: &AuditFilter,
        beyond: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, RegistryError> {
        self.read(|connection| audit::page(connection, filter, beyond, limit))
    }

    async fn audit_head(&self) -> Result<AuditHead, RegistryError> {
        self.read(audit::head)
    }

    async fn check_state(&self) -> Result<CheckState, RegistryError> {
        self.read(isolation::state)
    }

    async fn check_report(&self) -> Result<Option<StoredReport>, RegistryError> {
        self.read(isolation::report)
    }

    async fn ask_check(&self, records: Vec<AuditRecord>) -> Result<(), RegistryError> {
        let key = self.audit_key();
        self.write(Durability::PowerCut, move |connection| {
            isolation::ask(connection, key.as_deref(), &records)
        })
        .await
    }

    async fn begin_check(&self, run: &str, every: Duration) -> Result<bool, RegistryError> {
        let run = run.to_owned();
        self.write(Durability::ProcessDeath, move |connection| {
            isolation::begin(connection, &run, every)
        })
        .await
    }

    async fn renew_check(&self, run: &str) -> Result<bool, RegistryError> {
        let run = run.to_owned();
        self.write(Durability::ProcessDeath, move |connection| {
            isolation::renew(connection, &run)
        })
        .await
    }

    async fn end_check(&self, done: CheckDone) -> Result<bool, RegistryError> {
        let key = self.audit_key();
        self.write(Durability::PowerCut, move |connection| {
            isolation::end(connection, key.as_deref(), &done)
        })
        .await
    }

    fn signals(&self) -> Option<mpsc::UnboundedReceiver<Signal>> {
        None
    }

    async fn changes(&self, _: Option<i64>) -> Result<Changes, RegistryError> {
        Ok(Changes::default())
    }

    async fn take_read_lease(&self, _: Duration) -> Result<bool, RegistryError> {
        // There is one server, which knows what it changes.
        Ok(false)
    }

    async fn give_back_read_lease(&self) -> Result<(), RegistryError> {
        Ok(())
    }

    fn look_every(&self) -> Duration {
        LOOK_EVERY
    }

    async fn writable(&self) -> Result<(), RegistryError> {
        // A small write may still find room where a real one does not.
        if let Ok(disk) = rustix::fs::statvfs(&self.path)
            && disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_SPACE
        {
            return Err(RegistryError::Unavailable(
                "the disk under it is full".into(),
            ));
        }
        self.write(Durability::ProcessDeath, |connection| {
            connection.execute(
                "INSERT INTO meta VALUES ('written_at', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [Timestamp::now().to_string()],
            )?;
            Ok(())
        })
        .await
    }

    fn sessions(&self) -> SessionUse {
        // Whoever finds none free waits for one of them: that is not counted.
        let most = self.readers.len();
        let busy = self
            .readers
            .iter()
            .filter(|reader| reader.try_lock().is_err())
            .count();
        SessionUse {
            most,
            idle: most - busy,
            busy,
            waiting: 0,
        }
    }

    async fn statistics(&self) -> Result<Statistics, RegistryError> {
        self.read(|connection| {
            let mut statistics = Statistics {
                operations: operations::count(connection)?,
                ..Statistics::default()
            };
            outbox::count(connection, &mut statistics)?;
            Ok(statistics)
        })
    }

    #[cfg(test)]
    async fn fill(&self, sql: &str, first: u32, last: u32) {
        let series = format!(
            "(WITH RECURSIVE s (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s)"
        );
        let sql = sql
            .replace("SERIES_ID", "printf('%032x', n)")
            .replace("SERIES", &series);
        self.write(Durability::ProcessDeath, move |connection| {
            Ok(connection.execute_batch(&sql)?)
        })
        .await
        .expect("it can be filled");
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.writer.close().await;
    }
}
