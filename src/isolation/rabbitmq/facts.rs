//! What a broker answers, before anything is concluded from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::isolation::inventory::{Inventory, Messaging};

/// A virtual host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Vhost {
    pub(super) name: String,
    pub(super) tracing: bool,
}

/// A user. Its hash is not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) name: String,
    tags: Value,
}

impl User {
    /// Returns its tags: a list, or words with commas before RabbitMQ 3.9.
    pub(super) fn tags(&self) -> Vec<String> {
        match &self.tags {
            Value::Array(tags) => tags
                .iter()
                .filter_map(|tag| tag.as_str().map(str::to_owned))
                .collect(),
            Value::String(tags) => tags
                .split(',')
                .map(|tag| tag.trim().to_owned())
                .filter(|tag| !tag.is_empty())
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What a user may do in a virtual host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Permission {
    pub(super) user: String,
    pub(super) vhost: String,
    pub(super) configure: String,
    pub(super) write: String,
    pub(super) read: String,
    /// Of topic permissions alone.
    pub(super) exchange: String,
}

impl Permission {
    /// Returns the patterns that allow something, with what they are for.
    pub(super) fn patterns(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("configure", self.configure.as_str()),
            ("write", self.write.as_str()),
            ("read", self.read.as_str()),
        ];
        all.into_iter()
            .filter(|(_, pattern)| !matches!(*pattern, "" | "^$"))
    }
}

/// A queue or an exchange.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) vhost: String,
    /// Type of an exchange.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) arguments: BTreeMap<String, Value>,
    pub(super) messages: u64,
}

/// A binding.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Binding {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) destination_type: String,
    pub(super) routing_key: String,
    pub(super) vhost: String,
}

/// A shovel, a federation upstream, limits, a policy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameter {
    pub(super) component: String,
    pub(super) name: String,
    pub(super) vhost: String,
    pub(super) value: Value,
    /// Names that a policy is about.
    pub(super) pattern: String,
    pub(super) definition: BTreeMap<String, Value>,
}

/// Where the broker listens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub(super) protocol: String,
    pub(super) ip_address: String,
    pub(super) port: u16,
}

/// Answer of `overview`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Overview {
    pub(super) rabbitmq_version: String,
    pub(super) listeners: Vec<Listener>,
}

/// Everything that a broker answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Broker {
    pub(super) overview: Overview,
    pub(super) vhosts: Vec<Vhost>,
    pub(super) users: Vec<User>,
    pub(super) permissions: Vec<Permission>,
    pub(super) topics: Vec<Permission>,
    pub(super) queues: Vec<Resource>,
    pub(super) exchanges: Vec<Resource>,
    pub(super) bindings: Vec<Binding>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) policies: Vec<Parameter>,
    pub(super) limits: Vec<Parameter>,
}

/// Who has which virtual host, with which user.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// Place of findings.
    pub(super) store: String,
    pub(super) messaging: Vec<Messaging>,
    /// Name, id and status of every tenant.
    pub(super) tenants: BTreeMap<String, (String, String)>,
    pub(super) complete: bool,
    pub(super) trusted: BTreeSet<String>,
}

impl Context {
    pub(super) fn new(inventory: &Inventory, store: &str, trusted: BTreeSet<String>) -> Self {
        Self {
            store: store.to_owned(),
            messaging: inventory.messaging.clone(),
            tenants: inventory
                .everyone()
                .into_iter()
                .map(|record| (record.tenant, (record.id, record.status)))
                .collect(),
            complete: inventory.complete,
            trusted,
        }
    }

    /// Returns the tenants of a virtual host.
    pub(super) fn of_vhost(&self, name: &str) -> BTreeSet<&str> {
        let of = self.messaging.iter().filter(|m| m.vhost == name);
        of.map(|m| m.tenant.as_str()).collect()
    }

    /// Returns the tenants that a user belongs to.
    pub(super) fn of_user(&self, name: &str) -> BTreeSet<&str> {
        let of = self.messaging.iter().filter(|m| m.username == name);
        of.map(|m| m.tenant.as_str()).collect()
    }

    /// Returns the tenant whose name or id stands in the name of a queue or an exchange.
    pub(super) fn owner(&self, resource: &str) -> Option<&str> {
        self.tenants
            .iter()
            .filter(|(name, (id, _))| {
                crate::isolation::redis::holds_word(resource, name)
                    || crate::isolation::redis::holds_word(resource, id)
            })
            .map(|(name, _)| name.as_str())
            // Of two names that fit, the longer one says more.
            .max_by_key(|name| name.len())
    }
}
