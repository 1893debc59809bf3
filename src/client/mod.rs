//! Tenant Manager client: retry, breaker, cache, limits.
//!
//! [`TenantManager`] has one method per endpoint. Every call is bounded: in time, by the deadline
//! of the request and that of the command; in size, while the answer still arrives; in attempts, by
//! [`RetryPolicy`] and its budget. Writes carry an `Idempotency-Key`, so a write whose answer was
//! lost is asked for again rather than guessed at.

mod admin;
mod answer;
mod audit;
mod breaker;
mod call;
mod contract;
mod error;
mod http;
mod keys;
mod resolver;
mod retry;
mod transport;
mod watch;

pub use admin::{OperationQuery, ServiceAction, TenantAction, TenantQuery};
pub use audit::AuditQuery;
pub use breaker::{Breaker, BreakerSettings, BreakerState, Outcome, Permit, Rejected};
pub use contract::Association;
pub use error::{Answer, ClientError, Details, ErrorKind};
pub use http::public_json;
pub use keys::KeyQuery;
pub use resolver::{Pair, Resolution, Resolver, ResolverSettings, Tier};
pub use retry::RetryPolicy;

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::link::tls::ClientIdentity;
use crate::link::trace::TraceContext;
use crate::secret::Secret;

/// How a Tenant Manager is reached and how patient the client is.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Base URL. The caller has decided whether plain http is acceptable.
    pub base: Url,
    /// API key, sent with every request; may be empty when there is a token.
    pub api_key: Secret,
    /// Token of the Access Manager, sent with everything but questions for connections.
    pub bearer: Option<Secret>,
    /// Certificates to trust, PEM; the system's when absent.
    pub ca_pem: Option<String>,
    /// Certificate that a server is shown when it asks for one.
    pub identity: Option<ClientIdentity>,
    /// Longest time for one request, its answer included.
    pub timeout: Duration,
    /// Longest time to open a connection.
    pub connect_timeout: Duration,
    /// Time for everything, counted from [`TenantManager::new`]; unlimited when absent.
    pub deadline: Option<Duration>,
    /// Circuit breaker.
    pub breaker: BreakerSettings,
    /// Retries.
    pub retry: RetryPolicy,
    /// Longest answer, in bytes.
    pub max_body: usize,
    /// Trace that the calls belong to; one of its own when absent.
    pub trace: Option<TraceContext>,
}

impl ClientSettings {
    /// Builds settings with the products' defaults: 30 s per request, answers up to 10 MiB,
    /// a breaker of 5 failures and 30 s.
    pub fn new(base: Url, api_key: Secret) -> Self {
        Self {
            base,
            api_key,
            bearer: None,
            ca_pem: None,
            identity: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            deadline: None,
            breaker: BreakerSettings::default(),
            retry: RetryPolicy::default(),
            max_body: 10 * 1024 * 1024,
            trace: None,
        }
    }
}

/// A client of one Tenant Manager. Cloning is cheap and shares connections, breaker and budget.
#[derive(Debug, Clone)]
pub struct TenantManager {
    inner: Arc<transport::Transport>,
}

impl TenantManager {
    /// Builds a client; nothing is sent yet.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        transport::Transport::new(settings).map(|transport| Self {
            inner: Arc::new(transport),
        })
    }

    /// Returns the base URL.
    pub fn base(&self) -> &Url {
        &self.inner.settings.base
    }

    /// Returns the state of the circuit breaker.
    pub fn breaker(&self) -> BreakerState {
        self.inner.breaker.state()
    }

    /// Returns the key that tenants' connections are sealed with in a shared cache.
    pub fn sealer(&self) -> crate::secret::Sealer {
        let key = &self.inner.settings.api_key;
        // Without a key there is nothing to share the cache with: what this one seals, only this
        // one opens.
        let key = if key.is_empty() {
            Secret::generate()
        } else {
            key.clone()
        };
        crate::secret::Sealer::derive(&key, "tenant-connections")
    }
}
