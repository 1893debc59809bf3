//! The tenants' pools: bounded, the least recently used out first, never shared.
//!
//! Pools are made from one answer of the Tenant Manager and belong to one tenant. What replaces
//! them is a new entry; requests that hold the old one finish with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::refusal::Refusal;
use crate::contract::TenantId;
use crate::contract::wire::{ConnectionSettings, IsolationMode, PostgresConfig, TenantConfig};
use crate::link::postgres::{Pool, PoolError, PooledSession, PostgresEndpoint};
use crate::secret::Secret;

/// Largest pool that the Tenant Manager can ask for.
const MOST_OPEN: u32 = 200;
/// Most sessions without work that it can ask for.
const MOST_IDLE: u32 = 50;

/// How many pools there may be, and how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Tenants that may have pools at the same time; zero is unlimited. Unlike that of the
    /// products' library this is a hard limit: where every place is in use a new tenant is
    /// refused with 503 until a request ends.
    pub max_tenants: usize,
    /// Sessions per tenant and module where the Tenant Manager says nothing.
    pub max_open: u32,
    /// Sessions without work that a pool keeps, where the Tenant Manager says nothing.
    pub max_idle: u32,
    /// Age at which a session is closed when it has no work.
    pub lifetime: Duration,
    /// Time without work after which a session is closed, and time without a request after which
    /// a tenant's pools are.
    pub idle_timeout: Duration,
    /// How long a request waits for a session where all are in use.
    pub wait: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            max_tenants: 100,
            max_open: 25,
            max_idle: 5,
            lifetime: Duration::from_mins(30),
            idle_timeout: Duration::from_mins(5),
            wait: Duration::from_secs(5),
        }
    }
}

/// How many pools there are, and what became of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Tenants that have pools.
    pub tenants: usize,
    /// Tenants that made room for another.
    pub evicted: u64,
    /// Tenants that had no request for too long.
    pub idle: u64,
    /// Tenants whose pools were closed because they must not be served.
    pub closed: u64,
    /// Tenants whose pools were replaced because they connect otherwise now.
    pub replaced: u64,
    /// Tenants that found every place in use.
    pub refused: u64,
}

/// Why a handler got no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The tenant has no such module here.
    #[error("the tenant has no module `{0}`")]
    NoModule(String),
    /// The pool was closed: the tenant must not be served any more.
    #[error("the tenant's pool was closed")]
    Closed,
    /// All sessions that the tenant may have are in use.
    #[error("all of the tenant's sessions are in use")]
    Busy,
    /// None can be opened.
    #[error("no session can be opened: {0}")]
    Failed(String),
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NoModule(_) | SessionError::Closed | SessionError::Busy => {
                Self::unavailable()
            }
            SessionError::Failed(_) => Self::database(),
        }
    }
}

/// The pools of one tenant, made from one answer of the Tenant Manager.
#[derive(Debug)]
pub(super) struct TenantPools {
    modules: BTreeMap<String, ModulePool>,
    /// Set once every module's database let us in.
    opened: OnceCell<()>,
    /// The credentials are refused: the next request asks the Tenant Manager.
    refused: AtomicBool,
}

struct ModulePool {
    endpoint: PostgresEndpoint,
    pool: Pool,
    /// Sessions without work that are kept.
    max_idle: u32,
}

impl std::fmt::Debug for ModulePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.endpoint.describe())
    }
}

/// SQLSTATEs that say that these credentials lead nowhere: wrong password, no such login, no such
/// database, no right to connect.
const CREDENTIALS: [&str; 4] = ["28P01", "28000", "3D000", "42501"];

impl TenantPools {
    /// Opens a first session in every module, so that a database that cannot be reached shows
    /// before the handler runs. One request does it for all that come meanwhile.
    pub(super) async fn open(&self) -> Result<(), SessionError> {
        let open = || async {
            for module in self.modules.keys() {
                drop(self.session(module).await?);
            }
            Ok(())
        };
        self.opened.get_or_try_init(open).await.copied()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns the name of the first module.
    pub(super) fn first(&self) -> &str {
        self.modules.keys().next().map_or("", String::as_str)
    }

    pub(super) async fn session(&self, module: &str) -> Result<PooledSession, SessionError> {
        let Some(module) = self.modules.get(module) else {
            return Err(SessionError::NoModule(module.to_owned()));
        };
        module.pool.get().await.map_err(|error| {
            let failed = |error| module.endpoint.pool_error(error).to_string();
            match error {
                PoolError::Closed => SessionError::Closed,
                PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => SessionError::Busy,
                PoolError::Backend(inner) => {
                    let code = inner.code().map(tokio_postgres::error::SqlState::code);
                    if code.is_some_and(|code| CREDENTIALS.contains(&code)) {
                        self.refused.store(true, Ordering::Relaxed);
                    }
                    SessionError::Failed(failed(PoolError::Backend(inner)))
                }
                other => SessionError::Failed(failed(other)),
            }
        })
    }

    fn close(&self) {
        for module in self.modules.values() {
            module.pool.close();
        }
    }

    /// Closes sessions that are without work for too long, too old, or too many.
    fn trim(&self, settings: &PoolSettings) {
        for module in self.modules.values() {
            let mut kept = 0;
            module.pool.retain(|_, metrics| {
                let fresh = metrics.last_used() < settings.idle_timeout
                    && metrics.age() < settings.lifetime
                    && kept < module.max_idle;
                kept += u32::from(fresh);
                fresh
            });
        }
    }
}

/// The pools of all tenants.
#[derive(Debug)]
pub(super) struct Pools {
    settings: PoolSettings,
    modules: Vec<String>,
    state: Mutex<State>,
    /// Changes when a tenant's pools are taken away: answers from before make no new ones.
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<TenantId, Held>,
    counts: PoolCounts,
}

#[derive(Debug)]
struct Held {
    config: Arc<TenantConfig>,
    pools: Arc<TenantPools>,
    used: Instant,
}

impl Held {
    /// Returns true while a request, or a session of one, has them.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.pools) > 1
    }
}

/// What becomes of pools that are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Requests that have them get no further session.
    Close,
    /// Requests that have them finish as if nothing had happened.
    Drain,
}

impl Pools {
    /// Builds pools for `modules` of each tenant; for the first that has a database when empty.
    pub(super) fn new(settings: PoolSettings, modules: Vec<String>) -> Self {
        Self {
            settings,
            modules,
            state: Mutex::default(),
            epoch: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(super) fn counts(&self) -> PoolCounts {
        let state = self.lock();
        PoolCounts {
            tenants: state.tenants.len(),
            ..state.counts
        }
    }

    pub(super) fn tenants(&self) -> Vec<TenantId> {
        self.lock().tenants.keys().cloned().collect()
    }

    pub(super) fn has(&self, tenant: &TenantId) -> bool {
        self.lock().tenants.contains_key(tenant)
    }

    /// Returns the pools of a tenant that connects as `config` says, new ones if need be; `None`
    /// when something was taken away since `epoch`, so that the answer may be out of date.
    pub(super) fn hold(
        &self,
        tenant: &TenantId,
        config: &Arc<TenantConfig>,
        epoch: u64,
    ) -> Result<Option<Arc<TenantPools>>, Refusal> {
        let mut state = self.lock();
        // Under the lock: taking away changes the epoch while it has the lock.
        if self.epoch() != epoch {
            return Ok(None);
        }
        let now = Instant::now();
        if let Some(held) = state.tenants.get_mut(tenant) {
            held.used = now;
            if Arc::ptr_eq(&held.config, config) && !held.pools.is_refused() {
                return Ok(Some(Arc::clone(&held.pools)));
            }
        }
        let wanted = self.plan(config)?;
        if let Some(held) = state.tenants.get_mut(tenant) {
            if !held.pools.is_refused() && same_places(&held.pools, &wanted) {
                for (module, plan) in &wanted {
                    held.pools.modules[module].pool.resize(plan.max_open);
                }
                held.config = Arc::clone(config);
                return Ok(Some(Arc::clone(&held.pools)));
            }
            state.counts.replaced += 1;
        } else {
            self.make_room(&mut state)?;
        }
        let pools = Arc::new(self.build(wanted)?);
        let held = Held {
            config: Arc::clone(config),
            pools: Arc::clone(&pools),
            used: now,
        };
        // What was there drains: whoever has it keeps it to the end of the request.
        state.tenants.insert(tenant.clone(), held);
        Ok(Some(pools))
    }

    /// Makes room for one more tenant, at the expense of the one that nobody asked for longest.
    fn make_room(&self, state: &mut State) -> Result<(), Refusal> {
        if self.settings.max_tenants == 0 || state.tenants.len() < self.settings.max_tenants {
            return Ok(());
        }
        let oldest = state
            .tenants
            .iter()
            .filter(|(_, held)| !held.is_in_use())
            .min_by_key(|(_, held)| held.used)
            .map(|(tenant, _)| tenant.clone());
        let Some(oldest) = oldest else {
            state.counts.refused += 1;
            return Err(Refusal::capacity());
        };
        state.tenants.remove(&oldest);
        state.counts.evicted += 1;
        Ok(())
    }

    /// Takes a tenant's pools away, and makes every answer from before stale.
    pub(super) fn take_away(&self, tenant: &TenantId, farewell: Farewell) {
        let mut state = self.lock();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if let Some(held) = state.tenants.remove(tenant)
            && farewell == Farewell::Close
        {
            held.pools.close();
            state.counts.closed += 1;
        }
    }

    /// Takes away exactly these pools, where a newer entry has not replaced them.
    pub(super) fn give_up(&self, tenant: &TenantId, pools: &Arc<TenantPools>) {
        let mut state = self.lock();
        let same = |held: &Held| Arc::ptr_eq(&held.pools, pools);
        if state.tenants.get(tenant).is_some_and(same) {
            state.tenants.remove(tenant);
        }
    }

    /// Closes what has no work: tenants without requests, and sessions.
    pub(super) fn sweep(&self) {
        let mut state = self.lock();
        let before = state.tenants.len();
        let idle = self.settings.idle_timeout;
        state
            .tenants
            .retain(|_, held| held.is_in_use() || held.used.elapsed() < idle);
        state.counts.idle += (before - state.tenants.len()) as u64;
        for held in state.tenants.values() {
            held.pools.trim(&self.settings);
        }
    }

    fn plan(&self, config: &TenantConfig) -> Result<BTreeMap<String, Plan>, Refusal> {
        let has = |name: &str| {
            let module = config.databases.get(name)?;
            Some((module, module.postgresql.as_ref()?))
        };
        let mut wanted = BTreeMap::new();
        let first: Vec<String>;
        let names = if self.modules.is_empty() {
            // As a manager without a module name: the first, in byte order, that has a database.
            let found = config.databases.keys().find(|name| has(name).is_some());
            first = found.cloned().into_iter().collect();
            &first
        } else {
            &self.modules
        };
        for name in names {
            let (module, postgres) = has(name).ok_or_else(Refusal::unavailable)?;
            let of_module = module.connection_settings.as_ref();
            let sizes = of_module.or(config.connection_settings.as_ref());
            wanted.insert(name.clone(), self.one(config, postgres, sizes)?);
        }
        if wanted.is_empty() {
            return Err(Refusal::unavailable());
        }
        Ok(wanted)
    }

    fn one(
        &self,
        config: &TenantConfig,
        given: &PostgresConfig,
        sizes: Option<&ConnectionSettings>,
    ) -> Result<Plan, Refusal> {
        let schema_mode = IsolationMode::parse(&config.isolation_mode)
            .ok_or_else(Refusal::database)?
            == IsolationMode::Schema;
        let valid = given.schema.is_empty() || is_schema(&given.schema);
        if (schema_mode && given.schema.is_empty()) || !valid {
            return Err(Refusal::database());
        }
        let ca_pem = match given.sslrootcert.as_str() {
            "" => None,
            path => Some(std::fs::read_to_string(path).map_err(|error| {
                tracing::error!(path, %error, "the certificate of a tenant's database is missing");
                Refusal::database()
            })?),
        };
        let or = |value: Option<u32>, other: u32, most: u32| match value {
            None | Some(0) => other.min(most),
            Some(value) => value.min(most),
        };
        let max_open = or(
            sizes.map(|s| s.max_open_conns),
            self.settings.max_open,
            MOST_OPEN,
        );
        let max_idle = or(
            sizes.map(|s| s.max_idle_conns),
            self.settings.max_idle,
            MOST_IDLE,
        );
        Ok(Plan {
            endpoint: PostgresEndpoint {
                host: given.host.clone(),
                port: given.port,
                database: given.database.clone(),
                user: given.username.clone(),
                password: Some(Secret::new(given.password.clone())),
                sslmode: match given.sslmode.as_str() {
                    // The products' default.
                    "" => "disable".to_owned(),
                    word => word.to_owned(),
                },
                ca_pem,
                search_path: (!given.schema.is_empty()).then(|| given.schema.clone()),
            },
            max_open: max_open.max(1) as usize,
            max_idle,
        })
    }

    fn build(&self, plans: BTreeMap<String, Plan>) -> Result<TenantPools, Refusal> {
        let mut modules = BTreeMap::new();
        for (name, plan) in plans {
            let pool = plan
                .endpoint
                .guarded_pool(plan.max_open, self.settings.wait)
                .map_err(|error| {
                    tracing::error!(%error, "a tenant's pool cannot be made");
                    Refusal::database()
                })?;
            let module = ModulePool {
                endpoint: plan.endpoint,
                pool,
                max_idle: plan.max_idle,
            };
            modules.insert(name, module);
        }
        Ok(TenantPools {
            modules,
            opened: OnceCell::new(),
            refused: AtomicBool::new(false),
        })
    }
}

/// A pool to be.
#[derive(Debug)]
struct Plan {
    endpoint: PostgresEndpoint,
    max_open: usize,
    max_idle: u32,
}

fn same_places(pools: &TenantPools, plans: &BTreeMap<String, Plan>) -> bool {
    pools.modules.len() == plans.len()
        && plans.iter().all(|(name, plan)| {
            let module = pools.modules.get(name);
            module.is_some_and(|module| module.endpoint == plan.endpoint)
        })
}

/// The names that the products' library accepts for a schema.
fn is_schema(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::wire::ModuleDatabases;

    fn config(number: u128) -> (TenantId, Arc<TenantConfig>) {
        let id = format!("{number:032x}");
        let postgres = PostgresConfig {
            host: "127.0.0.1".into(),
            port: 1,
            database: format!("d{number}"),
            username: format!("u{number}"),
            ..PostgresConfig::default()
        };
        let module = ModuleDatabases {
            postgresql: Some(postgres),
            ..ModuleDatabases::default()
        };
        let mut config = TenantConfig {
            id: id.clone(),
            ..TenantConfig::default()
        };
        config.databases.insert("onboarding".into(), module);
        (id.parse().unwrap(), Arc::new(config))
    }

    fn pools(max_tenants: usize) -> Pools {
        let settings = PoolSettings {
            max_tenants,
            ..PoolSettings::default()
        };
        Pools::new(settings, Vec::new())
    }

    fn hold(pools: &Pools, number: u128) -> Result<Arc<TenantPools>, Refusal> {
        let (tenant, config) = config(number);
        let held = pools.hold(&tenant, &config, pools.epoch())?;
        Ok(held.expect("nothing was taken away"))
    }

    #[tokio::test]
    async fn the_least_recently_used_makes_room_and_what_is_in_use_stays() {
        let pools = pools(2);
        let first = hold(&pools, 1).unwrap();
        drop(hold(&pools, 2).unwrap());
        drop(hold(&pools, 3).unwrap());
        assert!(pools.has(&config(1).0) && !pools.has(&config(2).0));
        let third = hold(&pools, 3).unwrap();
        let refused = hold(&pools, 4).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.code), (503, "0466"));
        drop(first);
        drop(hold(&pools, 4).unwrap());
        assert!(!pools.has(&config(1).0));
        drop(third);
        let counts = pools.counts();
        assert_eq!((counts.tenants, counts.evicted, counts.refused), (2, 2, 1));
    }

    #[tokio::test]
    async fn an_answer_from_before_an_eviction_makes_no_pool() {
        let pools = pools(0);
        let (tenant, config) = config(1);
        let before = pools.epoch();
        let held = hold(&pools, 1).unwrap();
        pools.take_away(&tenant, Farewell::Close);
        assert!(pools.hold(&tenant, &config, before).unwrap().is_none());
        assert!(matches!(
            held.session("onboarding").await,
            Err(SessionError::Closed)
        ));
        assert!(!pools.has(&tenant));
    }

    #[tokio::test]
    async fn other_sizes_change_the_pool_and_other_places_replace_it() {
        let pools = pools(0);
        let (tenant, first) = config(1);
        let held = hold(&pools, 1).unwrap();
        let again = |change: fn(&mut TenantConfig)| {
            let mut other = TenantConfig::clone(&first);
            change(&mut other);
            let held = pools.hold(&tenant, &Arc::new(other), pools.epoch());
            held.unwrap().unwrap()
        };
        let larger = again(|config| {
            config.connection_settings = Some(ConnectionSettings {
                max_open_conns: 1000,
                ..ConnectionSettings::default()
            });
        });
        assert!(Arc::ptr_eq(&held, &larger));
        assert_eq!(held.modules["onboarding"].pool.status().max_size, 200);
        let moved = again(|config| {
            let module = config.databases.get_mut("onboarding").unwrap();
            module.postgresql.as_mut().unwrap().username = "other".into();
        });
        assert!(!Arc::ptr_eq(&held, &moved));
        assert!(!held.modules["onboarding"].pool.is_closed());
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_refused_as_products_do() {
        let pools = Pools::new(PoolSettings::default(), vec!["transaction".into()]);
        let refused = hold(&pools, 1).unwrap_err();
        assert_eq!(refused.code, "SERVICE_UNAVAILABLE");
        let pools = self::pools(0);
        for schema in ["", "1a", "a;b", "a b"] {
            let (tenant, config) = config(2);
            let mut config = TenantConfig::clone(&config);
            config.isolation_mode = "schema".into();
            let module = config.databases.get_mut("onboarding").unwrap();
            module.postgresql.as_mut().unwrap().schema = schema.into();
            let refused = pools.hold(&tenant, &Arc::new(config), pools.epoch());
            assert_eq!(refused.unwrap_err().code, "TENANT_DB_ERROR", "{schema}");
        }
    }
}
