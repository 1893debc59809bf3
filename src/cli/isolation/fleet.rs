//! The fleet to check: from the Tenant Manager, or from a file.

use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::client::{ClientError, ErrorKind, TenantManager, TenantQuery};
use crate::contract::admin::TenantRecord;
use crate::contract::wire::IsolationMode;
use crate::contract::{ServiceName, TenantId};
use crate::isolation::fleet;
use crate::isolation::inventory::{Inventory, Record, Retired, Store, parse_file};
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
    let entries = [
        file.store.len(),
        file.rabbitmq.len(),
        file.mongodb.len(),
        file.kafka.len(),
        file.object_store.len(),
    ];
    if entries == [0; 5] {
        return Err(Failure::new(
            Kind::Usage,
            "isolation.inventory",
            format!(
                "the inventory `{}` has no [[store]], and nothing else of a tenant",
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
    let named = named
        .chain(file.rabbitmq.iter().map(|one| &one.password_file))
        .chain(file.mongodb.iter().map(|one| &one.password_file));
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
    fleet::sort(&mut stores);
    let mut messaging = Vec::new();
    for one in file.rabbitmq {
        let password = match &one.password_file {
            Some(file) => Some(run.read_secret(&folder.join(file), "the password")?),
            None => None,
        };
        messaging.push(one.into_messaging(password));
    }
    let mut documents = Vec::new();
    for one in file.mongodb {
        let password = match &one.password_file {
            Some(file) => Some(run.read_secret(&folder.join(file), "the password")?),
            None => None,
        };
        let tenant = one.tenant.clone();
        let one = one.into_documents(password).map_err(|reason| {
            Failure::new(
                Kind::Usage,
                "isolation.inventory",
                format!(
                    "the inventory `{}` cannot be used: [[mongodb]] of {tenant}: {reason}",
                    path.display()
                ),
            )
        })?;
        documents.push(one);
    }
    let mut objects = Vec::new();
    for one in file.object_store {
        let policy = match &one.policy_file {
            Some(file) => Some(policy(run, &folder.join(file))?),
            None => None,
        };
        objects.push(one.into_objects(policy));
    }
    Ok(Inventory {
        messaging,
        documents,
        streaming: file.kafka.into_iter().map(Into::into).collect(),
        objects,
        stores,
        retired,
        password_files,
        complete: file.complete,
        source: format!("inventory file {}", path.display()),
        ..Inventory::default()
    })
}

/// Reads a policy of IAM.
fn policy(run: &Invocation, path: &Path) -> Result<serde_json::Value, Failure> {
    let bytes = run.read_input(path, FILE_BYTES, "the policy")?;
    let policy: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    // One without a statement would read as one that allows nothing.
    if policy.get("Statement").is_some() {
        return Ok(policy);
    }
    Err(Failure::new(
        Kind::Usage,
        "isolation.inventory",
        format!(
            "the policy `{}` is not a JSON document with a Statement",
            path.display()
        ),
    ))
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
    fleet::sort(&mut inventory.stores);
    // A server that only speaks the contract does not tell.
    if let Ok(info) = manager.info().await {
        inventory.event_redis = info.event_redis;
        inventory.rotation_grace = info.rotation_grace_seconds.map(Duration::from_secs);
    }
    Ok(inventory)
}

async fn with_extension(
    manager: &TenantManager,
    records: Vec<TenantRecord>,
    services: &[ServiceName],
    inventory: &mut Inventory,
) -> Result<(), ClientError> {
    let mut asked = Vec::new();
    for tenant in &records {
        inventory.records.push(fleet::record(tenant));
        let wanted = |service| services.is_empty() || services.contains(service);
        let all = fleet::associations(tenant);
        asked.extend(all.filter(|association| wanted(association.service)));
    }
    let mut answers = stream::iter(asked)
        .map(|asked| async move {
            let answer = manager.connections(asked.tenant, asked.service).await;
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
        fleet::add(inventory, &asked, config.as_ref());
    }
    Ok(())
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
            fleet::add_messaging(inventory, &name, &config);
            fleet::add_documents(inventory, &name, &config);
            fleet::add_streaming(inventory, &name, &config);
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
                fleet::handed_besides(&mut store, &config);
                inventory.stores.push(store);
            }
        }
    }
    Ok(())
}
