//! The fleet to check: from the Tenant Manager, or from a file.

use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::client::{ClientError, ErrorKind, TenantManager, TenantQuery};
use crate::contract::admin::{DatabaseRecord, TenantRecord, TenantStatus};
use crate::contract::wire::{IsolationMode, PostgresConfig, TenantConfig};
use crate::contract::{ServiceName, TenantId};
use crate::isolation::inventory::{
    Inventory, Messaging, Record, Replica, Retired, Store, parse_file,
};
use crate::secret::Secret;

/// Largest inventory file.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Connections that are asked for at the same time.
const AT_ONCE: usize = 8;

/// Reads an inventory file, with the passwords that it names.
pub fn from_file(run: &Invocation, path: &Path) -> Result<Inventory, Failure> {
    let bytes = run.read_input(path, FILE_BYTES, "the inventory")?;
    let text = String::from_utf8_lossy(&bytes);
    let file = parse_file(&text).map_err(|reason| {
        Failure::new(
            Kind::Usage,
            "isolation.inventory",
            format!(
                "the inventory `{}` cannot be used: {reason}",
                path.display()
            ),
        )
    })?;
    if file.store.is_empty() && file.rabbitmq.is_empty() {
        return Err(Failure::new(
            Kind::Usage,
            "isolation.inventory",
            format!(
                "the inventory `{}` has no [[store]] and no [[rabbitmq]]",
                path.display()
            ),
        ));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut stores = Vec::new();
    let mut retired = Vec::new();
    let named = file
        .store
        .iter()
        .flat_map(|store| [&store.password_file, &store.retired_password_file]);
    let named = named.chain(file.rabbitmq.iter().map(|one| &one.password_file));
    let password_files = named.flatten().map(|file| folder.join(file)).collect();
    for store in file.store {
        let password = match (&store.password_file, &store.password) {
            (Some(file), _) => Some(run.read_secret(&folder.join(file), "the password")?),
            (None, Some(password)) => Some(Secret::new(password.clone())),
            (None, None) => None,
        };
        let old = match &store.retired_password_file {
            Some(file) => Some(Retired {
                login: store
                    .retired_login
                    .clone()
                    .unwrap_or_else(|| store.login.clone()),
                password: run.read_secret(&folder.join(file), "the retired password")?,
            }),
            None => None,
        };
        let store = store.into_store(password);
        retired.extend(old.map(|old| (store.clone(), old)));
        stores.push(store);
    }
    sort(&mut stores);
    let mut messaging = Vec::new();
    for one in file.rabbitmq {
        let password = match &one.password_file {
            Some(file) => Some(run.read_secret(&folder.join(file), "the password")?),
            None => None,
        };
        messaging.push(one.into_messaging(password));
    }
    Ok(Inventory {
        messaging,
        stores,
        retired,
        password_files,
        complete: file.complete,
        source: format!("inventory file {}", path.display()),
        ..Inventory::default()
    })
}

/// Asks the Tenant Manager for every tenant, and for the connections of each of its services.
///
/// A server that only speaks the contract is asked for the active tenants of `services`.
pub async fn from_manager(
    manager: &TenantManager,
    services: &[ServiceName],
) -> Result<Inventory, ClientError> {
    let mut inventory = Inventory {
        source: format!("Tenant Manager {}", manager.base()),
        complete: services.is_empty(),
        ..Inventory::default()
    };
    let records: Result<Vec<TenantRecord>, ClientError> = manager
        .all_tenants(TenantQuery::default())
        .try_collect()
        .await;
    match records {
        Ok(records) => with_extension(manager, records, services, &mut inventory).await?,
        Err(error) if error.kind == ErrorKind::Unsupported && !services.is_empty() => {
            by_contract(manager, services, &mut inventory).await?;
        }
        Err(error) => return Err(error),
    }
    sort(&mut inventory.stores);
    // A server that only speaks the contract does not tell.
    if let Ok(info) = manager.info().await {
        inventory.event_redis = info.event_redis;
        inventory.rotation_grace = info.rotation_grace_seconds.map(Duration::from_secs);
    }
    Ok(inventory)
}

fn sort(stores: &mut [Store]) {
    stores.sort_by(|a, b| {
        (&a.tenant, &a.service, &a.module, &a.database, &a.login).cmp(&(
            &b.tenant,
            &b.service,
            &b.module,
            &b.database,
            &b.login,
        ))
    });
}

/// One association whose connections are asked for.
struct Asked {
    tenant: TenantId,
    name: String,
    status: TenantStatus,
    environment: String,
    service: ServiceName,
    databases: Vec<DatabaseRecord>,
}

async fn with_extension(
    manager: &TenantManager,
    records: Vec<TenantRecord>,
    services: &[ServiceName],
    inventory: &mut Inventory,
) -> Result<(), ClientError> {
    let mut asked = Vec::new();
    for tenant in records {
        inventory.records.push(Record {
            tenant: tenant.slug.to_string(),
            id: tenant.id.to_string(),
            status: tenant.status.as_str().to_owned(),
            environment: tenant.environment.to_string(),
        });
        for association in tenant.services {
            if !services.is_empty() && !services.contains(&association.service) {
                continue;
            }
            let status = match association.status.as_str() {
                "purged" => TenantStatus::Purged,
                "suspended" if tenant.status == TenantStatus::Active => TenantStatus::Suspended,
                _ => tenant.status,
            };
            asked.push(Asked {
                tenant: tenant.id.clone(),
                name: tenant.slug.to_string(),
                status,
                environment: tenant.environment.to_string(),
                service: association.service,
                databases: association.databases,
            });
        }
    }
    let mut answers = stream::iter(asked)
        .map(|asked| async move {
            let answer = manager.connections(&asked.tenant, &asked.service).await;
            (asked, answer)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((asked, answer)) = answers.next().await {
        let config = match answer {
            Ok(config) => Some(config),
            Err(error) if matches!(error.kind, ErrorKind::Suspended { .. }) => None,
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => {
                inventory
                    .gaps
                    .push(format!("{}/{}: {error}", asked.name, asked.service));
                None
            }
        };
        let handed_out = config.is_some();
        if let Some(config) = &config {
            add_messaging(inventory, &asked.name, config);
        }
        for record in &asked.databases {
            let connection = config
                .as_ref()
                .and_then(|config| config.databases.get(&record.module)?.postgresql.as_ref());
            let mut store = of_record(&asked, record, connection);
            store.handed_out = handed_out;
            if let Some(config) = &config {
                handed_besides(&mut store, config);
            }
            if let (Some(config), Some(connection)) = (&config, connection) {
                store.drift = drift(record, config, connection);
            }
            inventory.stores.push(store);
        }
    }
    Ok(())
}

fn of_record(asked: &Asked, record: &DatabaseRecord, given: Option<&PostgresConfig>) -> Store {
    Store {
        tenant: asked.name.clone(),
        tenant_id: asked.tenant.to_string(),
        status: asked.status.as_str().to_owned(),
        environment: asked.environment.clone(),
        service: asked.service.to_string(),
        module: record.module.clone(),
        mode: record.isolation_mode,
        host: given.map_or(&record.host, |given| &given.host).clone(),
        port: given.map_or(record.port, |given| given.port),
        database: given
            .map_or(&record.database, |given| &given.database)
            .clone(),
        schema: match given {
            Some(given) => (!given.schema.is_empty()).then(|| given.schema.clone()),
            None => record.schema.clone(),
        },
        login: given.map_or(&record.login, |given| &given.username).clone(),
        roles: vec![record.owner.clone()],
        password: given.map(|given| Secret::new(given.password.clone())),
        sslmode: given.map_or_else(String::new, |given| given.sslmode.clone()),
        ca_pem: None,
        drift: Vec::new(),
        replica: None,
        statement_timeout: String::new(),
        secret_paths: Vec::new(),
        handed_out: false,
    }
}

/// Adds what the connections say besides the primary: replica, timeout, paths of secrets.
fn handed_besides(store: &mut Store, config: &TenantConfig) {
    let module = config.databases.get(&store.module);
    let replica = module.and_then(|module| module.postgresql_replica.as_ref());
    store.replica = replica.map(|given| {
        Box::new(Replica {
            host: given.host.clone(),
            port: given.port,
            database: given.database.clone(),
            schema: (!given.schema.is_empty()).then(|| given.schema.clone()),
            login: given.username.clone(),
            password: Some(Secret::new(given.password.clone())),
            sslmode: given.sslmode.clone(),
        })
    });
    let settings = module
        .and_then(|module| module.connection_settings.as_ref())
        .or(config.connection_settings.as_ref());
    store.statement_timeout = settings.map_or_else(String::new, |s| s.statement_timeout.clone());
    let other = [&config.messaging, &config.rabbitmq, &config.streaming];
    let mongodb = module.and_then(|module| module.mongodb.as_ref());
    for value in other.into_iter().flatten().chain(mongodb) {
        secret_paths("", value, &mut store.secret_paths);
    }
}

/// Collects what stands under keys such as `secretPath`.
fn secret_paths(key: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                secret_paths(key, value, found);
            }
        }
        serde_json::Value::Array(list) => {
            for value in list {
                secret_paths(key, value, found);
            }
        }
        serde_json::Value::String(path) => {
            let key: String = key.chars().filter(|c| *c != '_' && *c != '-').collect();
            if key.to_ascii_lowercase().contains("secretpath") && !path.is_empty() {
                found.push(path.clone());
            }
        }
        _ => {}
    }
}

/// What the connections say otherwise than the record.
fn drift(record: &DatabaseRecord, config: &TenantConfig, given: &PostgresConfig) -> Vec<String> {
    let mut drift = Vec::new();
    let mut compare = |what: &str, record: &str, handed: &str| {
        if record != handed {
            drift.push(format!("{what}: record `{record}`, handed out `{handed}`"));
        }
    };
    let mode = IsolationMode::parse(&config.isolation_mode);
    compare(
        "mode",
        record.isolation_mode.as_str(),
        mode.map_or("unknown", IsolationMode::as_str),
    );
    compare("database", &record.database, &given.database);
    compare(
        "schema",
        record.schema.as_deref().unwrap_or_default(),
        &given.schema,
    );
    compare("login", &record.login, &given.username);
    drift
}

async fn by_contract(
    manager: &TenantManager,
    services: &[ServiceName],
    inventory: &mut Inventory,
) -> Result<(), ClientError> {
    inventory.complete = false;
    inventory
        .gaps
        .push("this server tells only the active tenants of the services that were named".into());
    for service in services {
        for tenant in manager.active(service).await? {
            let Ok(id) = tenant.id.parse::<TenantId>() else {
                inventory
                    .gaps
                    .push(format!("`{}` is not the id of a tenant", tenant.id));
                continue;
            };
            let config = match manager.connections(&id, service).await {
                Ok(config) => config,
                Err(error) => {
                    inventory
                        .gaps
                        .push(format!("{}/{service}: {error}", tenant.id));
                    continue;
                }
            };
            let name = if config.tenant_slug.is_empty() {
                tenant.id.clone()
            } else {
                config.tenant_slug.clone()
            };
            inventory.records.push(Record {
                tenant: name.clone(),
                id: tenant.id.clone(),
                status: "active".into(),
                environment: String::new(),
            });
            add_messaging(inventory, &name, &config);
            for (module, databases) in &config.databases {
                let Some(given) = &databases.postgresql else {
                    continue;
                };
                let mut store = Store {
                    tenant: name.clone(),
                    tenant_id: tenant.id.clone(),
                    status: "active".into(),
                    environment: String::new(),
                    service: service.to_string(),
                    module: module.clone(),
                    mode: IsolationMode::parse(&config.isolation_mode)
                        .unwrap_or(IsolationMode::Database),
                    host: given.host.clone(),
                    port: given.port,
                    database: given.database.clone(),
                    schema: (!given.schema.is_empty()).then(|| given.schema.clone()),
                    login: given.username.clone(),
                    roles: Vec::new(),
                    password: Some(Secret::new(given.password.clone())),
                    sslmode: given.sslmode.clone(),
                    ca_pem: None,
                    drift: Vec::new(),
                    replica: None,
                    statement_timeout: String::new(),
                    secret_paths: Vec::new(),
                    handed_out: true,
                };
                handed_besides(&mut store, &config);
                inventory.stores.push(store);
            }
        }
    }
    Ok(())
}

/// Adds the virtual hosts of a tenant's connections: by module, or else the older single one.
fn add_messaging(inventory: &mut Inventory, tenant: &str, config: &TenantConfig) {
    let modules = config.rabbitmq.as_ref().and_then(|value| value.as_object());
    let legacy = config
        .messaging
        .as_ref()
        .and_then(|value| value.get("rabbitmq"));
    let found: Vec<&serde_json::Value> = match modules {
        Some(modules) if !modules.is_empty() => modules.values().collect(),
        _ => legacy.into_iter().collect(),
    };
    for value in found {
        let text = |name: &str| {
            let text = value.get(name).and_then(serde_json::Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let tls = value.get("tls").and_then(serde_json::Value::as_bool);
        let tls = tls.unwrap_or(false);
        let port = value.get("port").and_then(serde_json::Value::as_u64);
        let one = Messaging {
            tenant: tenant.to_owned(),
            host: text("host"),
            port: port
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(if tls { 5671 } else { 5672 }),
            vhost: text("vhost"),
            username: text("username"),
            password: Some(Secret::new(text("password"))).filter(|password| !password.is_empty()),
            tls,
            ca_pem: None,
        };
        if !inventory.messaging.contains(&one) {
            inventory.messaging.push(one);
        }
    }
}
