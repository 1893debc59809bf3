//! PostgreSQL: endpoints and sessions.

use crate::secret::Secret;

/// How a PostgreSQL server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresEndpoint {
    /// Host name, address, or folder of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Login role.
    pub user: String,
    /// Password.
    pub password: Option<Secret>,
    /// libpq's word: `disable`, `prefer`, `require`, `verify-ca`, `verify-full`.
    pub sslmode: String,
    /// Certificates to trust, PEM; the system's roots when absent.
    pub ca_pem: Option<String>,
    /// Schema pinned through `options=-csearch_path=…`, as products do in schema mode.
    pub search_path: Option<String>,
}

impl PostgresEndpoint {
    /// stub
    pub fn parse_url(_: &str) -> Result<Self, super::LinkError> {
        unimplemented!()
    }
}
