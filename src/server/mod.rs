//! The Tenant Manager: routes, service, registry, outbox, operations.

mod archive;
mod audit;
mod auth;
mod bearer;
mod connection;
mod error;
mod freshness;
mod isolation;
mod keys;
mod limits;
mod listener;
mod master;
mod metrics;
mod operations;
mod outbox;
mod process;
mod registry;
mod rekey;
mod routes;
mod run;
mod service;
mod tls;
mod vault;

pub use archive::{ArchiveError, TableSummary, read_archive, write_archive};
pub use master::{KeySource, KeySourceError, LocalKey, MasterKey};
pub use registry::migrations::MigrationState;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::contract::catalogue::Catalogue;
use crate::link::postgres::PostgresEndpoint;
use crate::link::redis::RedisEndpoint;
use crate::provision::Cluster;
use crate::secret::Secret;

pub use isolation::{IsolationSettings, read_waivers};
pub use limits::Limits;
pub(crate) use service::read_any_cursor;
pub use tls::{ClientCertificate, ServerTls};

pub use bearer::{PermissionSource, TokenKeys, TokenSettings};

/// What a server needs to run. The caller binds the listener, so that port 0 works.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where the registry is; made when absent.
    pub registry: RegistryPlace,
    /// Master key that wraps the keys in the registry.
    pub master_key: MasterKey,
    /// The one before, while it is being changed: what it had wrapped is wrapped anew.
    pub previous_master_key: Option<MasterKey>,
    /// API keys to accept, on every server of the registry; stored hashed in it, kept across
    /// restarts.
    pub api_keys: Vec<Secret>,
    /// Clusters to place tenants on; the first is the default.
    pub clusters: Vec<Cluster>,
    /// Where events are published; none are sent (and the outbox keeps them) when absent.
    pub event_redis: Option<RedisEndpoint>,
    /// Known services.
    pub catalogue: Catalogue,
    /// Key set that development tokens are checked with, served at `/.well-known/jwks.json`;
    /// present on development servers only.
    pub development_jwks: Option<serde_json::Value>,
    /// How long a retired login stays valid after a rotation when the request does not say.
    pub rotation_grace: Duration,
    /// Operations that run at once.
    pub jobs: usize,
    /// Longest time that open requests are given at shutdown.
    pub drain: Duration,
    /// Who is let in besides those with `api_keys`.
    pub access: AccessSettings,
    /// What clients may take.
    pub limits: Limits,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<ServerTls>,
    /// How isolation is checked on a schedule; not at all without.
    pub isolation: Option<IsolationSettings>,
    /// Notified once `/readyz` answers 200 for the first time.
    pub ready: Arc<Notify>,
}

/// Who is let in, and how often.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// Requests per second of one key that has no limit of its own; 0 for no limit. Keys of
    /// [`ServerSettings::api_keys`] have none.
    pub rate_limit: u32,
    /// Forget the keys of [`ServerSettings::api_keys`] of earlier starts, for every server of the
    /// registry: only keys that operators made are accepted, and tokens.
    pub forget_api_keys: bool,
    /// Whose tokens are accepted; none without.
    pub tokens: Option<TokenSettings>,
}

impl AccessSettings {
    /// The limit when nobody names one: about what two cores answer, so that one key alone can
    /// use the server, and never more than that.
    pub const RATE_LIMIT: u32 = 100_000;
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            rate_limit: Self::RATE_LIMIT,
            forget_api_keys: false,
            tokens: None,
        }
    }
}

/// Where a registry is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryPlace {
    /// A SQLite file, private to the user, for one server at a time.
    Sqlite(PathBuf),
    /// A schema of a PostgreSQL database, for any number of servers.
    Postgres {
        /// Server, database and login.
        endpoint: PostgresEndpoint,
        /// Schema.
        schema: String,
    },
}

impl fmt::Display for RegistryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres { endpoint, schema } => {
                write!(f, "{}, schema {schema}", endpoint.describe())
            }
        }
    }
}

/// Why the server cannot start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The registry cannot be opened or is of a newer version.
    #[error("the registry `{place}` cannot be used: {reason}")]
    Registry {
        /// Where it is.
        place: RegistryPlace,
        /// What is wrong.
        reason: String,
    },
    /// The master key does not open what is in the registry.
    #[error("the master key does not fit the registry: {0}")]
    MasterKey(String),
    /// Nobody could use the server.
    #[error("{0}")]
    NoAccess(String),
    /// A file that TLS needs cannot be used.
    #[error("`{path}` cannot be used for TLS: {reason}")]
    Tls {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

/// Brings the schema of a registry up to date, making it when absent, or says what there is to
/// do; returns its migrations.
pub async fn migrate(
    place: &RegistryPlace,
    dry_run: bool,
) -> Result<Vec<MigrationState>, ServerError> {
    let states = match place {
        RegistryPlace::Sqlite(path) => {
            let path = path.clone();
            let work = move || registry::sqlite::SqliteRegistry::migrate(&path, dry_run);
            tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
        }
        RegistryPlace::Postgres { endpoint, schema } => {
            registry::postgres::PostgresRegistry::migrate(endpoint, schema, dry_run).await
        }
    };
    states.map_err(|reason| ServerError::Registry {
        place: place.clone(),
        reason,
    })
}

/// Serves until `shutdown` resolves, then drains and returns.
///
/// Unfinished operations of an earlier run are taken up before the first request is answered
/// or right after; `/readyz` says when. One server at a time may use a registry on SQLite, any
/// number one on PostgreSQL.
///
/// When `settings.api_keys` is not empty its keys replace those of earlier starts, so that a key
/// can be withdrawn, and other servers on the same registry follow before their next answer; when
/// it is empty the stored ones stay.
pub async fn serve(
    listener: TcpListener,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    run::serve(listener, settings, shutdown).await
}
