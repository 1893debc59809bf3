//! What is checked: who has which database or schema, where, with which login.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mongodb::{self, Address};
use crate::contract::wire::IsolationMode;
use crate::link::postgres::{PostgresEndpoint, is_plain_schema};
use crate::provision::limits::statement_timeout_ms;
use crate::secret::{Secret, sha256_hex};

/// One module's database or schema of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Tenant as it is called in reports.
    pub tenant: String,
    /// Id of the tenant where it has one besides its name.
    pub tenant_id: String,
    /// `active`, `suspended` or `purged`.
    pub status: String,
    /// Environment; empty when unknown.
    pub environment: String,
    /// Service; empty when unknown.
    pub service: String,
    /// Module; empty when unknown.
    pub module: String,
    /// Isolation mode.
    pub mode: IsolationMode,
    /// Host that products connect to.
    pub host: String,
    /// Port that products connect to.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Schema, in schema mode.
    pub schema: Option<String>,
    /// Login role that products use.
    pub login: String,
    /// Other roles of the tenant: the owner, the login that is idle.
    pub roles: Vec<String>,
    /// Password of the login, when it is known.
    pub password: Option<Secret>,
    /// `sslmode` that products are told; empty when none.
    pub sslmode: String,
    /// Certificates to trust, PEM.
    pub ca_pem: Option<String>,
    /// What the connections say where they differ from the record.
    pub drift: Vec<String>,
    /// Read replica that products are handed besides.
    pub replica: Option<Box<Replica>>,
    /// Statement timeout that the association sets, as PostgreSQL writes it; empty when none.
    pub statement_timeout: String,
    /// Paths of secrets in a vault that the connections name.
    pub secret_paths: Vec<String>,
    /// True when connections were handed out although the tenant is not active.
    pub handed_out: bool,
}

/// A read replica of a store, as products are handed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Host that products connect to.
    pub host: String,
    /// Port that products connect to.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Schema, in schema mode.
    pub schema: Option<String>,
    /// Login role.
    pub login: String,
    /// Password of the login, when it is known.
    pub password: Option<Secret>,
    /// `sslmode` that products are told; empty when none.
    pub sslmode: String,
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('/') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl Replica {
    /// Returns `host:port`.
    pub fn cluster(&self) -> String {
        address(&self.host, self.port)
    }
}

impl Store {
    /// Returns `host:port`.
    pub fn cluster(&self) -> String {
        address(&self.host, self.port)
    }

    /// Returns how a product connects to the read replica; `None` without one or its password.
    pub fn replica_endpoint(&self) -> Option<PostgresEndpoint> {
        let replica = self.replica.as_deref()?;
        let primary = Self {
            host: replica.host.clone(),
            port: replica.port,
            database: replica.database.clone(),
            schema: replica.schema.clone(),
            login: replica.login.clone(),
            password: replica.password.clone(),
            sslmode: replica.sslmode.clone(),
            ..self.clone()
        };
        primary.endpoint()
    }

    /// Returns the place in words: `database`, or `database.schema`.
    pub fn place(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{schema}", self.database),
            None => self.database.clone(),
        }
    }

    /// Returns the schema where a connection can be told of it. Any other is left out, so that what else
    /// its login may do is tried all the same; CF-05 names it.
    pub fn pinned(&self) -> Option<&str> {
        self.schema.as_deref().filter(|name| is_plain_schema(name))
    }

    /// Returns how a product connects, with its schema pinned; `None` without a password.
    pub fn endpoint(&self) -> Option<PostgresEndpoint> {
        let password = self.password.clone()?;
        Some(PostgresEndpoint {
            host: self.host.clone(),
            port: self.port,
            database: self.database.clone(),
            user: self.login.clone(),
            password: Some(password),
            // What products do when they are told nothing.
            sslmode: if self.sslmode.is_empty() {
                "disable".into()
            } else {
                self.sslmode.clone()
            },
            ca_pem: self.ca_pem.clone(),
            search_path: self.pinned().map(ToOwned::to_owned),
        })
    }

    /// Returns true for a host that is this machine.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/')
            || self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// A tenant, whether or not it has a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Tenant as it is called in reports.
    pub tenant: String,
    /// Its id, as it stands in keys.
    pub id: String,
    /// `active`, `suspended` or `purged`.
    pub status: String,
    /// Environment; empty when unknown.
    pub environment: String,
}

/// How a tenant reaches RabbitMQ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messaging {
    /// Tenant as it is called in reports.
    pub tenant: String,
    /// Host that products connect to.
    pub host: String,
    /// Port that products connect to.
    pub port: u16,
    /// Virtual host.
    pub vhost: String,
    /// User.
    pub username: String,
    /// Password, when it is known.
    pub password: Option<Secret>,
    /// Whether products use TLS.
    pub tls: bool,
    /// Certificates to trust, PEM.
    pub ca_pem: Option<String>,
}

/// How a tenant reaches MongoDB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// Tenant as it is called in reports.
    pub tenant: String,
    /// Where, which database, and as whom.
    pub address: Address,
}

/// How a tenant reaches Kafka.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streaming {
    /// Tenant as it is called in reports.
    pub tenant: String,
    /// Brokers, as `host:port`.
    pub brokers: Vec<String>,
    /// User; its principal is `User:` and this.
    pub username: String,
}

/// Where a tenant's objects lie.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// Tenant as it is called in reports.
    pub tenant: String,
    /// Address of the store; empty where it is the cloud's own.
    pub endpoint: String,
    /// Bucket.
    pub bucket: String,
    /// What the names of its objects begin with.
    pub prefix: String,
    /// Access key, where it has one of its own. It is no secret.
    pub access_key: Option<String>,
    /// Policy of that key.
    pub policy: Option<serde_json::Value>,
}

/// Everything that is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Stores, by tenant, service and module.
    pub stores: Vec<Store>,
    /// Tenants that may have no store; those of `stores` need not be here.
    pub records: Vec<Record>,
    /// Virtual hosts of RabbitMQ, by tenant; one entry for each that differs.
    pub messaging: Vec<Messaging>,
    /// Databases of MongoDB, by tenant; one entry for each that differs.
    pub documents: Vec<Documents>,
    /// Users of Kafka, by tenant; one entry for each that differs.
    pub streaming: Vec<Streaming>,
    /// Places in object stores, by tenant.
    pub objects: Vec<Objects>,
    /// Credentials that were rotated out, each with the store that it was for.
    pub retired: Vec<(Store, Retired)>,
    /// Files that passwords were read from.
    pub password_files: BTreeSet<PathBuf>,
    /// True when it has every tenant, so that what is not in it is left over.
    pub complete: bool,
    /// Where it comes from, in words.
    pub source: String,
    /// What could not be learned, for the section on what was not tested.
    pub gaps: Vec<String>,
    /// Where the Tenant Manager tells its events, as `host:port`, where it says so.
    pub event_redis: Option<String>,
    /// How long a retired login stays valid, where the Tenant Manager says so.
    pub rotation_grace: Option<Duration>,
}

impl Inventory {
    /// Returns the names of the tenants, sorted.
    pub fn tenants(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.stores.iter().map(|store| &store.tenant).collect();
        names.into_iter().cloned().collect()
    }

    /// Returns every tenant once, by name: the records, and those that only stores tell of.
    pub fn everyone(&self) -> Vec<Record> {
        let mut everyone: BTreeMap<&str, Record> = BTreeMap::new();
        for record in &self.records {
            everyone.insert(&record.tenant, record.clone());
        }
        let recorded: BTreeSet<&str> = everyone.keys().copied().collect();
        for store in &self.stores {
            if recorded.contains(store.tenant.as_str()) {
                continue;
            }
            let known = everyone.entry(&store.tenant).or_insert_with(|| Record {
                tenant: store.tenant.clone(),
                id: store.tenant_id.clone(),
                status: store.status.clone(),
                environment: store.environment.clone(),
            });
            // One service that is still served keeps the tenant alive.
            if known.status != "active" && store.status != "purged" {
                known.status.clone_from(&store.status);
            }
        }
        everyone.into_values().collect()
    }

    /// Returns the stores by cluster.
    pub fn clusters(&self) -> BTreeMap<String, Vec<&Store>> {
        let mut clusters: BTreeMap<String, Vec<&Store>> = BTreeMap::new();
        for store in &self.stores {
            clusters.entry(store.cluster()).or_default().push(store);
        }
        clusters
    }

    /// Returns a digest of who has what; passwords are no part of it.
    pub fn digest(&self) -> String {
        let mut lines: Vec<String> = self
            .stores
            .iter()
            .map(|store| {
                format!(
                    "{}\0{}\0{}\0{}\0{}",
                    store.tenant,
                    store.cluster(),
                    store.database,
                    store.schema.as_deref().unwrap_or_default(),
                    store.login
                )
            })
            .collect();
        lines.sort();
        format!("sha256:{}", sha256_hex(lines.join("\n").as_bytes()))
    }
}

/// A row of the inventory as the queries see it: one per store and role.
#[derive(Debug, Clone, Serialize)]
pub struct Row<'a> {
    tenant: &'a str,
    db: &'a str,
    sch: Option<&'a str>,
    role: &'a str,
    login: bool,
    mode: &'static str,
    status: &'a str,
    complete: bool,
    timeout: Option<i32>,
}

/// Returns the rows of `stores` as the parameter of every query.
pub fn rows<'a>(stores: impl IntoIterator<Item = &'a Store>, complete: bool) -> String {
    let mut rows = Vec::new();
    for store in stores {
        let row = |role: &'a str, login| Row {
            tenant: &store.tenant,
            db: &store.database,
            sch: store.schema.as_deref(),
            role,
            login,
            mode: store.mode.as_str(),
            status: &store.status,
            complete,
            timeout: statement_timeout_ms(&store.statement_timeout),
        };
        rows.push(row(&store.login, true));
        let others = store.roles.iter().filter(|role| **role != store.login);
        rows.extend(others.map(|role| row(role, false)));
    }
    serde_json::to_string(&rows).expect("rows of text serialise")
}

/// Returns the operator's login for a cluster: the one with its address, or the only one there is
/// where there is one cluster only.
pub fn operator_of<'a>(
    operators: &'a [PostgresEndpoint],
    cluster: &str,
    clusters: usize,
) -> Option<&'a PostgresEndpoint> {
    let alone = clusters == 1 && operators.len() == 1;
    operators
        .iter()
        .find(|operator| alone || operator.address() == cluster)
}

/// A credential that was rotated out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Login role.
    pub login: String,
    /// The password that it had.
    pub password: Secret,
}

/// Form of an inventory file, for tenants that were made by hand.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InventoryFile {
    /// True when the file has every tenant of its clusters.
    #[serde(default)]
    pub complete: bool,
    /// One entry for each database or schema of each tenant.
    #[serde(default)]
    pub store: Vec<FileStore>,
    /// One entry for each virtual host of each tenant.
    #[serde(default)]
    pub rabbitmq: Vec<FileMessaging>,
    /// One entry for each MongoDB database of each tenant.
    #[serde(default)]
    pub mongodb: Vec<FileDocuments>,
    /// One entry for each user of Kafka of each tenant.
    #[serde(default)]
    pub kafka: Vec<FileStreaming>,
    /// One entry for each place of each tenant in an object store.
    #[serde(default)]
    pub object_store: Vec<FileObjects>,
}

/// One user of Kafka of one tenant in an inventory file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileStreaming {
    /// Tenant.
    pub tenant: String,
    /// Brokers, as `host:port`.
    pub brokers: Vec<String>,
    /// User, without `User:`.
    pub username: String,
}

impl From<FileStreaming> for Streaming {
    fn from(file: FileStreaming) -> Self {
        Self {
            tenant: file.tenant,
            brokers: file.brokers,
            username: file.username,
        }
    }
}

/// One place of one tenant in an object store, in an inventory file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileObjects {
    /// Tenant.
    pub tenant: String,
    /// Address of the store; absent where it is the cloud's own.
    #[serde(default)]
    pub endpoint: String,
    /// Bucket.
    pub bucket: String,
    /// What the names of its objects begin with, such as `acme/`; empty when the bucket is its own.
    pub prefix: String,
    /// Access key, where the tenant has one of its own; not its secret.
    #[serde(default)]
    pub access_key: Option<String>,
    /// File with the policy of IAM of that key, JSON.
    #[serde(default)]
    pub policy_file: Option<std::path::PathBuf>,
}

impl FileObjects {
    /// Returns the place, with the policy that was read for it.
    pub fn into_objects(self, policy: Option<serde_json::Value>) -> Objects {
        Objects {
            tenant: self.tenant,
            endpoint: self.endpoint,
            bucket: self.bucket,
            prefix: self.prefix,
            access_key: self.access_key,
            policy,
        }
    }
}

/// One MongoDB database of one tenant in an inventory file.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileDocuments {
    /// Tenant.
    pub tenant: String,
    /// Host; with commas where a replica set has several, each with its port where it is another.
    pub host: String,
    /// Port; 27017 when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Database.
    pub database: String,
    /// User.
    pub username: String,
    /// File that holds its password.
    #[serde(default)]
    pub password_file: Option<std::path::PathBuf>,
    /// Database that the user belongs to; `admin` when absent.
    #[serde(default)]
    pub auth_source: Option<String>,
    /// Whether products use TLS.
    #[serde(default)]
    pub tls: bool,
    /// Whether products do not verify the server.
    #[serde(default)]
    pub tls_skip_verify: bool,
}

impl FileDocuments {
    /// Returns the database, with the password that was read for it; an error for a host that is
    /// none.
    pub fn into_documents(self, password: Option<Secret>) -> Result<Documents, String> {
        Ok(Documents {
            tenant: self.tenant,
            address: Address {
                hosts: mongodb::hosts(&self.host, self.port)?,
                database: self.database,
                username: self.username,
                password,
                auth_source: self.auth_source.unwrap_or_else(|| "admin".into()),
                tls: self.tls,
                skips_verification: self.tls_skip_verify,
                ca_pem: None,
            },
        })
    }
}

impl std::fmt::Debug for FileDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileDocuments")
            .field("tenant", &self.tenant)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// One virtual host of one tenant in an inventory file.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileMessaging {
    /// Tenant.
    pub tenant: String,
    /// Host.
    pub host: String,
    /// Port; 5672 when absent, 5671 with TLS.
    #[serde(default)]
    pub port: Option<u16>,
    /// Virtual host.
    pub vhost: String,
    /// User.
    pub username: String,
    /// File that holds its password.
    #[serde(default)]
    pub password_file: Option<std::path::PathBuf>,
    /// Whether products use TLS.
    #[serde(default)]
    pub tls: bool,
}

impl FileMessaging {
    /// Returns the virtual host, with the password that was read for it.
    pub fn into_messaging(self, password: Option<Secret>) -> Messaging {
        Messaging {
            tenant: self.tenant,
            host: self.host,
            port: self.port.unwrap_or(if self.tls { 5671 } else { 5672 }),
            vhost: self.vhost,
            username: self.username,
            password,
            tls: self.tls,
            ca_pem: None,
        }
    }
}

impl std::fmt::Debug for FileMessaging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileMessaging")
            .field("tenant", &self.tenant)
            .field("vhost", &self.vhost)
            .finish_non_exhaustive()
    }
}

/// One database or schema of one tenant in an inventory file.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileStore {
    /// Tenant.
    pub tenant: String,
    /// Id of the tenant as it stands in keys of Redis; its name when absent.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// `active` (the default), `suspended` or `purged`.
    #[serde(default)]
    pub status: String,
    /// Environment.
    #[serde(default)]
    pub environment: String,
    /// Service.
    #[serde(default)]
    pub service: String,
    /// Module.
    #[serde(default)]
    pub module: String,
    /// Host.
    pub host: String,
    /// Port; 5432 when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Database.
    pub database: String,
    /// Schema, where tenants share the database.
    #[serde(default)]
    pub schema: Option<String>,
    /// Login role.
    pub login: String,
    /// Other roles of the tenant, its owner role for example.
    #[serde(default)]
    pub roles: Vec<String>,
    /// File that holds the password of the login.
    #[serde(default)]
    pub password_file: Option<std::path::PathBuf>,
    /// Password of the login; rather name a file.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub password: Option<String>,
    /// `disable`, `prefer`, `require`, `verify-ca`, `verify-full`.
    #[serde(default)]
    pub sslmode: String,
    /// Host of the read replica, where there is one.
    #[serde(default)]
    pub replica_host: Option<String>,
    /// Port of the read replica; that of the primary when absent.
    #[serde(default)]
    pub replica_port: Option<u16>,
    /// Database on the read replica; that of the primary when absent.
    #[serde(default)]
    pub replica_database: Option<String>,
    /// Statement timeout that products are promised, such as `30s`.
    #[serde(default)]
    pub statement_timeout: String,
    /// A login whose password was rotated out, which must not get in; the login itself when absent.
    #[serde(default)]
    pub retired_login: Option<String>,
    /// File that holds the password that was rotated out.
    #[serde(default)]
    pub retired_password_file: Option<std::path::PathBuf>,
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore")
            .field("tenant", &self.tenant)
            .field("database", &self.database)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

impl FileStore {
    /// Returns the store, with the password that was read for it.
    pub fn into_store(self, password: Option<Secret>) -> Store {
        let port = self.port.unwrap_or(5432);
        let replica = self.replica_host.map(|host| {
            Box::new(Replica {
                host,
                port: self.replica_port.unwrap_or(port),
                database: self
                    .replica_database
                    .unwrap_or_else(|| self.database.clone()),
                schema: self.schema.clone(),
                login: self.login.clone(),
                password: password.clone(),
                sslmode: self.sslmode.clone(),
            })
        });
        Store {
            tenant_id: self.tenant_id.unwrap_or_else(|| self.tenant.clone()),
            tenant: self.tenant,
            status: if self.status.is_empty() {
                "active".into()
            } else {
                self.status
            },
            environment: self.environment,
            service: self.service,
            module: self.module,
            mode: if self.schema.is_some() {
                IsolationMode::Schema
            } else {
                IsolationMode::Database
            },
            host: self.host,
            port,
            database: self.database,
            schema: self.schema,
            login: self.login,
            roles: self.roles,
            password,
            sslmode: self.sslmode,
            ca_pem: None,
            drift: Vec::new(),
            replica,
            statement_timeout: self.statement_timeout,
            secret_paths: Vec::new(),
            handed_out: false,
        }
    }
}

/// Reads an inventory file: TOML, or JSON of the same form.
pub fn parse_file(text: &str) -> Result<InventoryFile, String> {
    // The parsers' messages repeat the line, which may hold a password: only the place is told.
    if text.trim_start().starts_with('{') {
        serde_json::from_str(text)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))
    } else {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text[..at.min(text.len())].matches('\n').count() + 1;
            let word = error.message().lines().next().unwrap_or_default();
            let word = word.split('`').next().unwrap_or_default().trim_end();
            format!("line {line}: {word}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_stores_and_an_error_never_repeats_a_password() {
        let file = parse_file(
            "[[store]]\ntenant = 'acme'\nhost = 'db'\ndatabase = 'acme'\nlogin = 'acme_app'\n",
        )
        .unwrap();
        let store = file.store[0].clone().into_store(None);
        assert_eq!((store.port, store.status.as_str()), (5432, "active"));
        assert_eq!(store.mode, IsolationMode::Database);
        assert!(rows([&store], false).contains(r#""role":"acme_app","login":true"#));
        for text in [
            "[[store]]\npassword = hunter2\n",
            "[[store]]\nhunter2 = 'hunter2'\n",
            "{\"store\": [{\"password\": hunter2}]}",
        ] {
            let error = parse_file(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
