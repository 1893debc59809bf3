//! The service catalogue: which modules a service has, and which stores each module needs.
//!
//! Built in from the shared reference `services-and-modules`, extensible by a TOML file with the
//! same form.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::ServiceName;
use super::wire::IsolationMode;

const BUILT_IN: &str = include_str!("catalogue.toml");

/// A datastore that a module needs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// PostgreSQL.
    Postgresql,
    /// MongoDB.
    Mongodb,
    /// RabbitMQ.
    Rabbitmq,
}

impl Store {
    /// Returns the store's lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Mongodb => "mongodb",
            Self::Rabbitmq => "rabbitmq",
        }
    }
}

/// Whether a service's code can run with a schema per tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "reason")]
pub enum SchemaMode {
    /// It can.
    Supported,
    /// It can, as far as is known, with a caveat.
    Experimental(String),
    /// It cannot, for this reason.
    Unsupported(String),
}

impl SchemaMode {
    /// Returns the verdict's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Experimental(_) => "experimental",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// What the catalogue knows of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// One line for a person.
    pub title: String,
    /// Stores by module.
    pub modules: BTreeMap<String, Vec<Store>>,
    /// Whether schema mode works.
    pub schema_mode: SchemaMode,
}

impl Service {
    /// Returns the modules that have a PostgreSQL store, in byte order.
    pub fn postgres_modules(&self) -> impl Iterator<Item = &str> {
        self.modules
            .iter()
            .filter(|(_, stores)| stores.contains(&Store::Postgresql))
            .map(|(name, _)| name.as_str())
    }

    /// Returns module and store of everything that is not provisioned yet (not PostgreSQL).
    pub fn not_provisioned(&self) -> Vec<(String, Store)> {
        self.modules
            .iter()
            .flat_map(|(module, stores)| stores.iter().map(move |store| (module.clone(), *store)))
            .filter(|(_, store)| *store != Store::Postgresql)
            .collect()
    }

    /// Returns why `mode` is refused for this service without force.
    pub fn refuses(&self, mode: IsolationMode) -> Option<&str> {
        match (mode, &self.schema_mode) {
            (
                IsolationMode::Schema,
                SchemaMode::Unsupported(reason) | SchemaMode::Experimental(reason),
            ) => Some(reason),
            _ => None,
        }
    }
}

/// Why a catalogue file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the service catalogue is not valid: {0}")]
pub struct CatalogueError(String);

/// All known services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    services: BTreeMap<String, Service>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::parse(BUILT_IN).expect("the built-in catalogue is valid")
    }
}

impl Catalogue {
    /// Reads a catalogue file: a table `[service.NAME]` per service.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            service: BTreeMap<String, Service>,
        }
        let file: File = toml::from_str(text).map_err(|e| CatalogueError(e.to_string()))?;
        for (name, service) in &file.service {
            name.parse::<ServiceName>()
                .map_err(|e| CatalogueError(e.to_string()))?;
            for module in service.modules.keys() {
                let ok = (1..=64).contains(&module.len())
                    && module.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_')
                    });
                if !ok {
                    return Err(CatalogueError(format!(
                        "module `{}` of service `{name}`: a module name has 1 to 64 lower-case letters, digits, `-` or `_`",
                        module.escape_debug()
                    )));
                }
            }
        }
        Ok(Self {
            services: file.service,
        })
    }

    /// Adds the services of `other`, which win over those of the same name.
    pub fn extend(&mut self, other: Self) {
        self.services.extend(other.services);
    }

    /// Returns the service called `name`.
    pub fn get(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name.as_str())
    }

    /// Returns every service by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.services
            .iter()
            .map(|(name, service)| (name.as_str(), service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_knows_the_public_products() {
        let all = Catalogue::default();
        let ledger = all.get(&"ledger".parse().unwrap()).unwrap();
        assert_eq!(
            ledger.postgres_modules().collect::<Vec<_>>(),
            ["onboarding", "transaction"]
        );
        let tracer = all.get(&"tracer".parse().unwrap()).unwrap();
        assert!(tracer.refuses(IsolationMode::Schema).is_some());
        assert!(tracer.refuses(IsolationMode::Database).is_none());
    }
}
