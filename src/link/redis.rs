//! Redis and Valkey: endpoints and connections, standalone and cluster.

use crate::secret::Secret;

/// How a Redis server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisEndpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// ACL user; the default user when absent.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Whether to use TLS.
    pub tls: bool,
    /// Certificates to trust, PEM; the system's roots when absent.
    pub ca_pem: Option<String>,
    /// Database number; 0 for events.
    pub database: i64,
}
