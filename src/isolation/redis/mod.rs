//! The checks of Redis: keys, users, subscribers, settings.
//!
//! [`check`] reads each server (`gather`) and then judges what was read (`judge`); a control
//! puts planted readings through the same judgement (`control`). Nothing is written, except one
//! event that means nothing, when that is asked for (`roundtrip`).

mod acl;
mod census;
mod control;
mod facts;
mod gather;
mod judge;
mod roundtrip;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::Inventory;
use super::model::{Check, Finding};
use super::part::Part;
use super::report::ServerFacts;
use crate::cache::KeyTenant;
use crate::link::LinkError;
use crate::link::redis::{Deployment, RedisEndpoint};
pub(crate) use acl::holds_word;
use facts::{Context, Place, Tenant};

/// Keys of one server that are looked at without being asked for more.
pub const SAMPLE: u64 = 200_000;

/// A Redis that belongs to the deployment.
#[derive(Debug, Clone)]
pub struct Target {
    /// How it is reached.
    pub endpoint: RedisEndpoint,
    /// True for the server that carries the events.
    pub events: bool,
}

/// How Redis is looked at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Servers; none when no Redis is configured.
    pub targets: Vec<Target>,
    /// Users that may do everything, besides the one that logs in here.
    pub trusted: Vec<String>,
    /// Beginnings of keys that are known to belong to no tenant.
    pub allowed: Vec<String>,
    /// Keys of each server that are looked at; all when absent.
    pub keys: Option<u64>,
    /// Clients that should listen to events, when it is known.
    pub listeners: Option<u64>,
    /// Whether an event may be published.
    pub publish: bool,
    /// Environment, where the inventory does not tell.
    pub environment: Option<String>,
}

/// Returns the ids that a breach is planted for in each run.
pub fn planted() -> BTreeSet<&'static str> {
    control::planted().collect()
}

/// Looks at every Redis; `checks` are those that were asked for.
pub async fn check(
    inventory: &Inventory,
    options: &Options,
    checks: &[&'static Check],
    progress: &dyn Fn(u64, u64),
) -> Part {
    let mut part = Part::default();
    if checks.is_empty() {
        return part;
    }
    if options.targets.is_empty() {
        part.skip_all(checks, "no Redis is configured");
        return part;
    }
    let asked: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
    let context = context(inventory, options);
    judge::ids("inventory", &context, &mut part);
    for target in &options.targets {
        let address = target.endpoint.address();
        let mut deployment = match enter(&target.endpoint).await {
            Ok(deployment) => deployment,
            Err(error) => {
                part.fail_all(checks, &error.to_string());
                continue;
            }
        };
        let mut nodes = Vec::new();
        for node in deployment.nodes_mut() {
            let name = node.name.clone();
            let read = gather::node(
                &mut node.session,
                &name,
                target,
                options,
                &context,
                progress,
            )
            .await;
            judge::node(&read, &context, &mut part);
            nodes.push(read);
        }
        judge::listeners(&nodes, &context, &mut part);
        for node in &nodes {
            let (kind, version) = node.version();
            part.servers.push(ServerFacts {
                kind: kind.to_owned(),
                address: node.name.clone(),
                version,
                reader: node.me.clone(),
            });
        }
        if !target.events {
            continue;
        }
        if !options.publish {
            part.skip(
                "RD-15",
                "it publishes an event, and that was not asked for (--redis-publish)",
            );
        } else if asked.contains("RD-15") {
            if context.environments.is_empty() {
                part.skip("RD-15", "no environment with events is known");
            }
            for environment in &context.environments {
                roundtrip::run(&target.endpoint, environment, &mut part).await;
            }
        }
        tracing::debug!(address, "Redis was looked at");
    }
    if !options.targets.iter().any(|target| target.events) {
        for id in ["RD-03", "RD-06", "RD-07", "RD-15"] {
            part.skip(id, "no Redis with events is configured");
        }
    }
    part.planted = control::run();
    part.findings
        .retain(|finding: &Finding| asked.contains(finding.check.as_str()));
    part.looked.retain(|id, _| asked.contains(id));
    part.planted.retain(|id, _| asked.contains(id));
    part
}

/// Connects; without the password where the server wants none, and therefore refuses it.
async fn enter(endpoint: &RedisEndpoint) -> Result<Deployment, LinkError> {
    match endpoint.primaries().await {
        Err(LinkError::Refused { target, reason }) if endpoint.username.is_none() => {
            let open = RedisEndpoint {
                password: None,
                ..endpoint.clone()
            };
            let answer = open.primaries().await;
            answer.map_err(|_| LinkError::Refused { target, reason })
        }
        answer => answer,
    }
}

fn context(inventory: &Inventory, options: &Options) -> Context {
    let mut places: BTreeMap<&str, BTreeSet<(String, Place)>> = BTreeMap::new();
    for store in &inventory.stores {
        let place = Place {
            host: store.host.trim_end_matches('.').to_ascii_lowercase(),
            port: u64::from(store.port),
            database: store.database.clone(),
            schema: store.schema.clone().unwrap_or_default(),
            login: store.login.clone(),
        };
        let of = places.entry(&store.tenant_id).or_default();
        of.insert((store.service.clone(), place));
    }
    let tenants: Vec<Tenant> = inventory
        .everyone()
        .into_iter()
        .map(|record| Tenant {
            key: KeyTenant::parse(&record.id),
            places: places.remove(record.id.as_str()).unwrap_or_default(),
            name: record.tenant,
            id: record.id,
            status: record.status,
            environment: record.environment,
        })
        .collect();
    let has_events = |name: &str| matches!(name, "staging" | "production");
    let mut environments: BTreeSet<String> = tenants
        .iter()
        .filter(|tenant| tenant.status != "purged")
        .map(|tenant| tenant.environment.clone())
        .filter(|name| has_events(name))
        .collect();
    if environments.is_empty() {
        let named = options.environment.iter().filter(|name| has_events(name));
        environments.extend(named.cloned());
    }
    Context {
        tenants,
        complete: inventory.complete,
        environments: environments.into_iter().collect(),
        trusted: options.trusted.iter().cloned().collect(),
        listeners: options.listeners,
    }
}
