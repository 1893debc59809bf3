//! PostgreSQL: endpoints and sessions.

mod gate;
mod pool;
mod session;
mod startup;
mod url;

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::config::SslMode;

use super::LinkError;
use super::tls::Verify;
use crate::secret::Secret;

pub use gate::{Gate, Places};
pub use pool::{Pool, PoolError, PooledSession, SessionUse};
pub use session::{ConnectError, Session};
pub use startup::Greeting;

/// Longest time to reach a server and log in.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How our sessions are called in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "lerianctl";

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

/// What a word for `sslmode` means: whether to encrypt, and what to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Encryption {
    mode: SslMode,
    verify: Verify,
}

impl PostgresEndpoint {
    /// Reads `postgres://user[:password]@host[:port][/database][?sslmode=…]`.
    ///
    /// User and password are percent-decoded; the host may be the folder of a Unix socket, as
    /// `%2Frun%2Fpostgresql` or `?host=/run/postgresql`. Parameters: `sslmode` (default `prefer`),
    /// `sslrootcert` (a PEM file, read here, or `system`), `host`, `port`, `user`, `password`,
    /// `dbname`, `options` (only `-csearch_path=SCHEMA`). The error never repeats the text.
    pub fn parse_url(text: &str) -> Result<Self, LinkError> {
        url::parse(text).map_err(|reason| LinkError::Address {
            what: "the PostgreSQL URL".into(),
            reason,
        })
    }

    /// Returns `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') && !self.is_socket() {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns address, database and user for a person, without the password.
    pub fn describe(&self) -> String {
        super::redis::printable(&format!(
            "{}, database {}, user {}",
            self.address(),
            self.database,
            self.user
        ))
    }

    /// Returns the same server and login with another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
            ..self.clone()
        }
    }

    /// Connects and logs in, within [`CONNECT_DEADLINE`].
    pub async fn connect(&self) -> Result<Session, LinkError> {
        Ok(self.try_connect("").await?)
    }

    /// Connects with more start-up options (`-c name=value …`), and tells a refusal's SQLSTATE.
    pub async fn try_connect(&self, options: &str) -> Result<Session, ConnectError> {
        // The state of a TLS handshake is large; callers need not carry it around.
        Box::pin(Session::open(self, options, None, None)).await
    }

    /// As [`Self::try_connect`], and passes on the payload of every notification.
    pub async fn connect_listening(
        &self,
        options: &str,
        notifications: UnboundedSender<String>,
    ) -> Result<Session, ConnectError> {
        Box::pin(Session::open(self, options, Some(notifications), None)).await
    }

    fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    fn encryption(&self) -> Result<Encryption, LinkError> {
        let of = |mode, verify| Ok(Encryption { mode, verify });
        if self.is_socket() {
            // As in libpq: a Unix socket is never encrypted, whatever is asked for.
            return of(SslMode::Disable, Verify::Nothing);
        }
        match (self.sslmode.as_str(), &self.ca_pem) {
            ("disable", _) => of(SslMode::Disable, Verify::Nothing),
            ("prefer", _) => of(SslMode::Prefer, Verify::Nothing),
            ("require", None) => of(SslMode::Require, Verify::Nothing),
            // As in libpq: whoever names an authority wants it checked.
            ("require", Some(_)) | ("verify-ca", _) => of(SslMode::Require, Verify::Authority),
            ("verify-full", _) => of(SslMode::Require, Verify::Host),
            _ => Err(LinkError::Address {
                what: "sslmode".into(),
                reason: SSLMODE_WORDS.into(),
            }),
        }
    }

    fn config(&self, more_options: &str) -> Result<tokio_postgres::Config, LinkError> {
        let mut config = tokio_postgres::Config::new();
        config
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name(APPLICATION_NAME)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .ssl_mode(self.encryption()?.mode);
        if self.is_socket() {
            config.host_path(&self.host);
        } else {
            config.host(&self.host);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        let mut options = more_options.to_owned();
        if let Some(schema) = &self.search_path {
            if !is_plain_schema(schema) {
                return Err(LinkError::Address {
                    what: "the schema".into(),
                    reason: "it has letters, digits and `_`, and does not start with a digit"
                        .into(),
                });
            }
            if !options.is_empty() {
                options.push(' ');
            }
            options.push_str("-csearch_path=");
            options.push_str(schema);
        }
        if !options.is_empty() {
            config.options(&options);
        }
        Ok(config)
    }
}

const SSLMODE_WORDS: &str =
    "it is one of `disable`, `prefer`, `require`, `verify-ca`, `verify-full`";

/// Returns true for a schema that products can pin unquoted: `^[a-zA-Z_][a-zA-Z0-9_]*$`.
pub(crate) fn is_plain_schema(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
