//! Development keys and passwords: made once, kept in private files.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Home;
use crate::devstack::{DevstackError, folder};
use crate::link::postgres::PostgresEndpoint;
use crate::link::redis::RedisEndpoint;
use crate::secret::Secret;

/// How the servers of a stack are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// PostgreSQL, as its administrator.
    pub postgres: PostgresEndpoint,
    /// Redis.
    pub redis: RedisEndpoint,
}

/// The keys of one data folder.
#[derive(Debug, Clone)]
pub struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Returns the keys of `home`.
    pub fn new(home: &Home) -> Self {
        Self {
            folder: home.keys(),
        }
    }

    /// Returns the key that clients of the Tenant Manager send.
    pub fn api_key(&self) -> Result<Secret, DevstackError> {
        self.keep("api-key", Secret::generate)
    }

    /// Returns the key that seals credentials in the registry.
    pub fn master_key(&self) -> Result<Secret, DevstackError> {
        self.keep("master-key", Secret::generate)
    }

    /// Returns the private key, in PEM, that signs development tokens; `make` makes a new one.
    pub fn signing_key(&self, make: impl FnOnce() -> Secret) -> Result<Secret, DevstackError> {
        self.keep("signing-key.pem", make)
    }

    /// Returns the path of the file with the API key, for `--api-key-file`.
    pub fn api_key_file(&self) -> PathBuf {
        self.folder.join("api-key")
    }

    pub(super) fn postgres_password(&self) -> Result<Secret, DevstackError> {
        self.keep("postgres-password", Secret::generate)
    }

    pub(super) fn redis_password(&self) -> Result<Secret, DevstackError> {
        self.keep("redis-password", Secret::generate)
    }

    fn keep(&self, name: &str, make: impl FnOnce() -> Secret) -> Result<Secret, DevstackError> {
        folder::keep_secret(&self.folder.join(name), make)
    }

    fn connections_file(&self) -> PathBuf {
        self.folder.join("connections.json")
    }

    pub(super) fn write_connections(&self, connections: &Connections) -> Result<(), DevstackError> {
        let file = ConnectionsFile::from(connections);
        let text = serde_json::to_vec_pretty(&file).expect("connections are plain JSON");
        folder::write_private(&self.connections_file(), &text, None)
    }

    /// Returns how the servers were reached when they ran last; `None` when they never did.
    pub fn connections(&self) -> Result<Option<Connections>, DevstackError> {
        let path = self.connections_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DevstackError::io("cannot read", &path)(error)),
        };
        let file: ConnectionsFile = serde_json::from_str(&text)
            .map_err(|error| DevstackError::io("cannot read", &path)(error.into()))?;
        Ok(Some(file.into()))
    }
}

/// The private file with the connections: the only place that writes their passwords.
#[derive(Serialize, Deserialize)]
struct ConnectionsFile {
    postgres: PostgresFile,
    redis: RedisFile,
}

#[derive(Serialize, Deserialize)]
struct PostgresFile {
    host: String,
    port: u16,
    database: String,
    user: String,
    password: Option<String>,
    sslmode: String,
    ca_pem: Option<String>,
    search_path: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RedisFile {
    host: String,
    port: u16,
    username: Option<String>,
    password: Option<String>,
    tls: bool,
    ca_pem: Option<String>,
    database: i64,
}

impl From<&Connections> for ConnectionsFile {
    fn from(connections: &Connections) -> Self {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|text| text.expose().to_owned());
        let Connections { postgres, redis } = connections.clone();
        Self {
            postgres: PostgresFile {
                password: text(&postgres.password),
                host: postgres.host,
                port: postgres.port,
                database: postgres.database,
                user: postgres.user,
                sslmode: postgres.sslmode,
                ca_pem: postgres.ca_pem,
                search_path: postgres.search_path,
            },
            redis: RedisFile {
                password: text(&redis.password),
                host: redis.host,
                port: redis.port,
                username: redis.username,
                tls: redis.tls,
                ca_pem: redis.ca_pem,
                database: redis.database,
            },
        }
    }
}

impl From<ConnectionsFile> for Connections {
    fn from(file: ConnectionsFile) -> Self {
        let ConnectionsFile { postgres, redis } = file;
        Self {
            postgres: PostgresEndpoint {
                host: postgres.host,
                port: postgres.port,
                database: postgres.database,
                user: postgres.user,
                password: postgres.password.map(Secret::new),
                sslmode: postgres.sslmode,
                ca_pem: postgres.ca_pem,
                search_path: postgres.search_path,
            },
            redis: RedisEndpoint {
                host: redis.host,
                port: redis.port,
                username: redis.username,
                password: redis.password.map(Secret::new),
                tls: redis.tls,
                ca_pem: redis.ca_pem,
                database: redis.database,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn connections_come_back_as_they_were_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(&Home::prepare(folder.path()).unwrap());
        assert_eq!(keys.connections().unwrap(), None);
        let connections = Connections {
            postgres: PostgresEndpoint {
                host: "db.example".into(),
                port: 5432,
                database: "postgres".into(),
                user: "admin".into(),
                password: Some(Secret::new("p\"w")),
                sslmode: "verify-full".into(),
                ca_pem: Some("pem".into()),
                search_path: None,
            },
            redis: RedisEndpoint {
                host: "redis.example".into(),
                port: 6380,
                username: Some("dev".into()),
                password: None,
                tls: true,
                ca_pem: None,
                database: 3,
            },
        };
        keys.write_connections(&connections).unwrap();
        assert_eq!(keys.connections().unwrap(), Some(connections));
        let meta = fs::metadata(keys.connections_file()).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_differ_from_each_other_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(&Home::prepare(folder.path()).unwrap());
        let api_key = keys.api_key().unwrap();
        assert_ne!(api_key, keys.master_key().unwrap());
        assert_eq!(api_key, keys.api_key().unwrap());
        let text = fs::read_to_string(keys.api_key_file()).unwrap();
        assert_eq!(text, api_key.expose());
        let made = keys.signing_key(|| Secret::new("first\nline\n")).unwrap();
        let kept = keys.signing_key(|| panic!("it was kept")).unwrap();
        assert_eq!(made, kept);
    }
}
