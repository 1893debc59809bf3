//! The fleet of a Tenant Manager as an inventory: what its records say, and what is handed out.

use crate::contract::admin::{AssociationStatus, DatabaseRecord, TenantRecord, TenantStatus};
use crate::contract::wire::{IsolationMode, PostgresConfig, TenantConfig};
use crate::contract::{ServiceName, TenantId};
use crate::secret::Secret;

use super::inventory::{Documents, Inventory, Messaging, Record, Replica, Store, Streaming};
use super::mongodb::{Address, hosts};

/// One association whose connections are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Tenant.
    pub tenant: &'a TenantId,
    /// Its slug.
    pub name: &'a str,
    /// Service.
    pub service: &'a ServiceName,
    status: TenantStatus,
    environment: &'a str,
    provisioning: bool,
    databases: &'a [DatabaseRecord],
}

/// Returns a tenant as the inventory names it.
pub fn record(tenant: &TenantRecord) -> Record {
    Record {
        tenant: tenant.slug.to_string(),
        id: tenant.id.to_string(),
        status: tenant.status.as_str().to_owned(),
        environment: tenant.environment.to_string(),
    }
}

/// Returns the associations of a tenant.
pub fn associations(tenant: &TenantRecord) -> impl Iterator<Item = Asked<'_>> {
    tenant.services.iter().map(|association| Asked {
        tenant: &tenant.id,
        name: tenant.slug.as_str(),
        service: &association.service,
        status: match association.status {
            AssociationStatus::Purged => TenantStatus::Purged,
            AssociationStatus::Suspended if tenant.status == TenantStatus::Active => {
                TenantStatus::Suspended
            }
            _ => tenant.status,
        },
        environment: tenant.environment.as_str(),
        provisioning: association.status == AssociationStatus::Provisioning,
        databases: &association.databases,
    })
}

/// Adds the stores of an association, with the connections that are handed out, if any are.
pub fn add(inventory: &mut Inventory, asked: &Asked<'_>, config: Option<&TenantConfig>) {
    if asked.provisioning {
        // Half-made, and nobody is led to it yet.
        let gap = format!("{}/{} is being provisioned", asked.name, asked.service);
        inventory.gaps.push(gap);
        return;
    }
    if let Some(config) = config {
        add_messaging(inventory, asked.name, config);
        add_documents(inventory, asked.name, config);
        add_streaming(inventory, asked.name, config);
    }
    for record in asked.databases {
        let connection =
            config.and_then(|config| config.databases.get(&record.module)?.postgresql.as_ref());
        let mut store = of_record(asked, record, connection);
        store.handed_out = config.is_some();
        if let Some(config) = config {
            handed_besides(&mut store, config);
        }
        if let (Some(config), Some(connection)) = (config, connection) {
            store.drift = drift(record, config, connection);
        }
        inventory.stores.push(store);
    }
}

/// Puts stores into the order of an inventory.
pub fn sort(stores: &mut [Store]) {
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

fn of_record(asked: &Asked<'_>, record: &DatabaseRecord, given: Option<&PostgresConfig>) -> Store {
    Store {
        tenant: asked.name.to_owned(),
        tenant_id: asked.tenant.to_string(),
        status: asked.status.as_str().to_owned(),
        environment: asked.environment.to_owned(),
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
pub fn handed_besides(store: &mut Store, config: &TenantConfig) {
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

/// Adds the virtual hosts of a tenant's connections: by module, or else the older single one.
pub fn add_messaging(inventory: &mut Inventory, tenant: &str, config: &TenantConfig) {
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

/// Adds the users of Kafka of a tenant's connections.
pub fn add_streaming(inventory: &mut Inventory, tenant: &str, config: &TenantConfig) {
    let modules = config
        .streaming
        .as_ref()
        .and_then(|value| value.as_object());
    for module in modules.into_iter().flat_map(|modules| modules.values()) {
        let Some(kafka) = module.get("kafka") else {
            continue;
        };
        let brokers = kafka.get("brokers").and_then(serde_json::Value::as_array);
        let brokers = brokers.into_iter().flatten();
        let username = kafka.get("username").and_then(serde_json::Value::as_str);
        let one = Streaming {
            tenant: tenant.to_owned(),
            brokers: brokers
                .filter_map(|broker| broker.as_str().map(str::to_owned))
                .collect(),
            username: username.unwrap_or_default().to_owned(),
        };
        if !inventory.streaming.contains(&one) {
            inventory.streaming.push(one);
        }
    }
}

/// Adds the MongoDB databases of a tenant's connections.
pub fn add_documents(inventory: &mut Inventory, tenant: &str, config: &TenantConfig) {
    for (module, databases) in &config.databases {
        let Some(value) = &databases.mongodb else {
            continue;
        };
        match documents(tenant, value) {
            Ok(one) if !inventory.documents.contains(&one) => inventory.documents.push(one),
            Ok(_) => {}
            Err(reason) => inventory.gaps.push(format!(
                "MongoDB of {tenant} ({module}) cannot be read: {reason}"
            )),
        }
    }
}

/// Reads a MongoDB object of the contract: an `uri` wins over host and port, fields over what it
/// says of the login.
fn documents(tenant: &str, value: &serde_json::Value) -> Result<Documents, String> {
    let text = |name: &str| {
        let text = value.get(name).and_then(serde_json::Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let is_on = |name: &str| {
        let value = value.get(name).and_then(serde_json::Value::as_bool);
        value.unwrap_or(false)
    };
    let port = value.get("port").and_then(serde_json::Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok());
    let mut address = match text("uri") {
        Some(uri) => Address::parse(&uri)?,
        None => Address {
            hosts: hosts(&text("host").unwrap_or_default(), port)?,
            auth_source: "admin".into(),
            ..Address::default()
        },
    };
    if let Some(database) = text("database") {
        address.database = database;
    }
    if let Some(username) = text("username") {
        address.username = username;
    }
    if let Some(password) = text("password") {
        address.password = Some(Secret::new(password));
    }
    if let Some(source) = text("authSource") {
        address.auth_source = source;
    }
    address.tls |= is_on("tls");
    address.skips_verification |= is_on("tlsSkipVerify");
    Ok(Documents {
        tenant: tenant.to_owned(),
        address,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kafka_is_read_as_products_do() {
        let config: TenantConfig = serde_json::from_value(json!({
            "id": "acme", "tenantSlug": "acme", "isolationMode": "database", "databases": {},
            "streaming": { "ledger": { "kafka": { "brokers": ["k1:9093", "k2:9093"],
                "username": "ledger_acme", "password": "hunter2" } } },
        }))
        .unwrap();
        let mut inventory = Inventory::default();
        add_streaming(&mut inventory, "acme", &config);
        add_streaming(&mut inventory, "acme", &config);
        let wanted = Streaming {
            tenant: "acme".into(),
            brokers: vec!["k1:9093".into(), "k2:9093".into()],
            username: "ledger_acme".into(),
        };
        assert_eq!(inventory.streaming, [wanted]);
    }

    #[test]
    fn mongodb_is_read_as_products_do() {
        let read = |value| documents("acme", &value).map(|one| one.address);
        let plain = read(json!({
            "host": "mongo.example", "port": 27018, "database": "acme", "username": "acme_app",
            "password": "p", "tls": true, "tlsSkipVerify": true,
        }));
        let plain = plain.unwrap();
        assert_eq!(plain.place(), "mongo.example:27018");
        assert_eq!(plain.auth_source, "admin");
        assert!(plain.tls && plain.skips_verification && plain.password.is_some());
        // What the URL says wins over host and port, and fields of their own over what it leaves out.
        let by_url = read(json!({
            "uri": "mongodb://acme_crm:p@mongo.data.svc:27017/?tls=true", "host": "other",
            "database": "acme_crm",
        }));
        let by_url = by_url.unwrap();
        assert_eq!(by_url.place(), "mongo.data.svc:27017");
        assert_eq!(
            (by_url.database.as_str(), by_url.username.as_str()),
            ("acme_crm", "acme_crm")
        );
        assert_eq!(by_url.auth_source, "admin");
        // What cannot be read is a gap of the inventory, without the password.
        let wrong = read(json!({ "uri": "mongodb+srv://u:hunter2@h/" })).unwrap_err();
        assert!(!wrong.contains("hunter2"), "{wrong}");
        assert!(read(json!({ "database": "acme" })).is_err());
    }
}
