//! Where a product connects as a tenant: memory first, then a shared Redis, then the Tenant
//! Manager.
//!
//! Fails closed: an answer of 403 or 404 removes the tenant from both tiers, nothing is served
//! beyond its TTL whatever the state of the Tenant Manager, and an answer about another tenant is
//! refused.

mod memory;
mod shared;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::TenantManager;
use super::error::{ClientError, ErrorKind};
use crate::contract::wire::TenantConfig;
use crate::contract::{ServiceName, TenantId};
use crate::link::redis::RedisEndpoint;
use memory::Memory;
use shared::SharedTier;

/// How tenants' connections are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverSettings {
    /// How long an answer is used; zero disables both tiers.
    pub ttl: Duration,
    /// Age at which an answer in use is checked again in the background; zero disables.
    pub check_interval: Duration,
    /// Answers kept in memory; zero is unlimited.
    pub max_tenants: usize,
    /// How long an unused answer stays in memory.
    pub idle_timeout: Duration,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_mins(2),
            check_interval: Duration::from_secs(30),
            max_tenants: 100,
            idle_timeout: Duration::from_mins(5),
        }
    }
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// This process.
    Memory,
    /// The shared Redis.
    Shared,
    /// The Tenant Manager, just now.
    Live,
}

impl Tier {
    /// Returns the tier in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Shared => "shared",
            Self::Live => "live",
        }
    }
}

/// How a product connects as a tenant, and how fresh that is. Holds passwords.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The connections.
    pub config: Arc<TenantConfig>,
    /// Where they come from.
    pub tier: Tier,
    /// Time since the Tenant Manager said so.
    pub age: Duration,
}

/// A tenant and a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// Tenant.
    pub tenant: TenantId,
    /// Service.
    pub service: ServiceName,
}

impl Pair {
    /// Returns the key in a shared Redis: `tenant-connections:{tenant}:{service}`.
    pub fn redis_key(&self) -> String {
        format!("tenant-connections:{}:{}", self.tenant, self.service)
    }
}

/// An answer of the Tenant Manager, and how old it is.
#[derive(Debug, Clone)]
struct Fetched {
    config: Arc<TenantConfig>,
    /// Age when this process got hold of it.
    before: Duration,
    /// When that was, on a clock that nobody sets.
    since: Instant,
}

impl Fetched {
    fn new(config: TenantConfig, before: Duration, since: Instant) -> Self {
        Self {
            config: Arc::new(config),
            before,
            since,
        }
    }

    fn age(&self, now: Instant) -> Duration {
        self.before
            .saturating_add(now.saturating_duration_since(self.since))
    }
}

type Flight = Shared<BoxFuture<'static, Result<Resolution, ClientError>>>;

/// Resolves tenants as a product's middleware does. Cloning is cheap and shares the tiers.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    manager: TenantManager,
    settings: ResolverSettings,
    memory: Mutex<Memory>,
    shared: Option<SharedTier>,
    /// Requests under way, so that many callers make one; the flag means "live only".
    flights: Mutex<HashMap<(Pair, bool), Flight>>,
    /// Changes when something is forgotten: answers asked for before that are not kept.
    epoch: AtomicU64,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// Builds a resolver; `shared` is the Redis with the second tier, when there is one.
    pub fn new(
        manager: TenantManager,
        settings: ResolverSettings,
        shared: Option<RedisEndpoint>,
    ) -> Self {
        let shared = shared
            .filter(|_| !settings.ttl.is_zero())
            .map(|endpoint| SharedTier::new(endpoint, manager.sealer(), settings.ttl));
        Self {
            inner: Arc::new(Inner {
                manager,
                memory: Mutex::new(Memory::new(settings.max_tenants, settings.idle_timeout)),
                settings,
                shared,
                flights: Mutex::default(),
                epoch: AtomicU64::new(0),
            }),
        }
    }

    /// Returns how `service` connects as `tenant`, from the nearest tier that knows.
    pub async fn resolve(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
    ) -> Result<Resolution, ClientError> {
        let pair = pair(tenant, service);
        if let Some(found) = self.inner.remembered(&pair) {
            self.check_later(&pair);
            return Ok(found.into_resolution(Tier::Memory));
        }
        let resolution = self.fly(pair.clone(), false).await?;
        if resolution.tier == Tier::Shared {
            self.check_later(&pair);
        }
        Ok(resolution)
    }

    /// Asks the Tenant Manager whatever the tiers hold, and updates them.
    pub async fn refresh(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
    ) -> Result<Resolution, ClientError> {
        self.fly(pair(tenant, service), true).await
    }

    /// Removes a tenant's answer from both tiers, as an invalidation event does.
    pub async fn forget(&self, tenant: &TenantId, service: &ServiceName) {
        self.inner.forget(&pair(tenant, service)).await;
    }

    /// Returns what is in memory, with ages, in a stable order.
    pub fn in_memory(&self) -> Vec<(Pair, Duration)> {
        let now = Instant::now();
        let mut all: Vec<_> = self
            .inner
            .lock_memory()
            .iter()
            .map(|(pair, fetched)| (pair.clone(), fetched.age(now)))
            .filter(|(_, age)| *age < self.inner.settings.ttl)
            .collect();
        all.sort();
        all
    }

    fn is_due(&self, pair: &Pair, interval: Duration) -> bool {
        let mut memory = self.inner.lock_memory();
        memory.is_due(pair, interval, Instant::now())
    }

    /// Checks an answer in the background once it is old enough.
    fn check_later(&self, pair: &Pair) {
        let interval = self.inner.settings.check_interval;
        if !interval.is_zero() && self.is_due(pair, interval) {
            // The flight runs by itself; whoever asks meanwhile shares it.
            drop(self.fly(pair.clone(), true));
        }
    }

    /// Joins the request for `pair` that is under way, or starts one.
    fn fly(&self, pair: Pair, live: bool) -> Flight {
        let mut flights = self.inner.lock_flights();
        let key = (pair, live);
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (inner, flown) = (Arc::clone(&self.inner), key.clone());
        // A task of its own: a caller that gives up must not stop it for the others.
        let task = tokio::spawn(async move {
            let result = inner.fetch(&flown.0, flown.1).await;
            inner.lock_flights().remove(&flown);
            result
        });
        let request = format!("resolving {}", key.0.redis_key());
        let flight = async move {
            task.await.unwrap_or_else(|_| {
                let reason = "was stopped with the program";
                Err(ClientError::new(ErrorKind::Unavailable, &request, reason))
            })
        }
        .boxed()
        .shared();
        flights.insert(key, flight.clone());
        flight
    }
}

impl Inner {
    fn lock_memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_flights(&self) -> std::sync::MutexGuard<'_, HashMap<(Pair, bool), Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, fetched: &Fetched) -> bool {
        fetched.age(Instant::now()) < self.settings.ttl
    }

    fn remembered(&self, pair: &Pair) -> Option<Fetched> {
        self.lock_memory()
            .fresh(pair, self.settings.ttl, Instant::now())
    }

    async fn fetch(&self, pair: &Pair, live: bool) -> Result<Resolution, ClientError> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        if !live {
            // Another flight may have landed since the caller looked.
            if let Some(found) = self.remembered(pair) {
                return Ok(found.into_resolution(Tier::Memory));
            }
            if let Some(shared) = &self.shared
                && let Some(found) = shared.get(pair).await
                && self.is_fresh(&found)
            {
                self.keep_in_memory(pair, &found, epoch);
                return Ok(found.into_resolution(Tier::Shared));
            }
        }
        match self.ask(pair).await {
            Ok(fetched) => {
                self.keep_in_memory(pair, &fetched, epoch);
                if let Some(shared) = &self.shared {
                    let current = || self.epoch.load(Ordering::SeqCst) == epoch;
                    shared.put(pair, &fetched, current).await;
                }
                Ok(fetched.into_resolution(Tier::Live))
            }
            Err(error) => {
                if matches!(error.status(), Some(403 | 404)) {
                    self.forget(pair).await;
                }
                Err(error)
            }
        }
    }

    async fn ask(&self, pair: &Pair) -> Result<Fetched, ClientError> {
        let begun = Instant::now();
        let config = self
            .manager
            .connections(&pair.tenant, &pair.service)
            .await?;
        if !config.id.is_empty() && TenantId::canonical(&config.id).as_ref() != Some(&pair.tenant) {
            return Err(ClientError::new(
                ErrorKind::Protocol,
                &format!("resolving {}", pair.redis_key()),
                "was answered with the connections of another tenant",
            ));
        }
        Ok(Fetched::new(config, Duration::ZERO, begun))
    }

    fn keep_in_memory(&self, pair: &Pair, fetched: &Fetched, epoch: u64) {
        if self.settings.ttl.is_zero() {
            return;
        }
        let mut memory = self.lock_memory();
        // Under the lock: forgetting changes the epoch before it takes the lock.
        if self.epoch.load(Ordering::SeqCst) == epoch {
            memory.insert(pair.clone(), fetched.clone(), Instant::now());
        }
    }

    async fn forget(&self, pair: &Pair) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.lock_memory().remove(pair);
        if let Some(shared) = &self.shared {
            shared.remove(pair).await;
        }
    }
}

impl Fetched {
    fn into_resolution(self, tier: Tier) -> Resolution {
        Resolution {
            age: self.age(Instant::now()),
            config: self.config,
            tier,
        }
    }
}

fn pair(tenant: &TenantId, service: &ServiceName) -> Pair {
    Pair {
        tenant: tenant.clone(),
        service: service.clone(),
    }
}
