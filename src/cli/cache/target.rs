//! Which keys on which servers a command is about.

use std::collections::BTreeMap;
use std::sync::Mutex;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cache::{self, KeyTenant, Scope};
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::contract::ServiceName;
use crate::contract::ids::TenantRef;
use crate::link::redis::RedisEndpoint;
use crate::output::progress::Progress;

/// Flags that choose keys.
#[derive(Debug, Clone, Args)]
pub struct ScopeArgs {
    /// Tenant slug or id; may be repeated. An id needs no Tenant Manager
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    pub tenant: Vec<TenantRef>,

    /// Tenant id as it stands in keys, where it is not a UUID; may be repeated
    #[arg(long, value_name = "ID")]
    pub tenant_id: Vec<KeyTenant>,

    /// Only what belongs to this service
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    pub service: Option<ServiceName>,
}

/// The chosen keys, with the tenants as an operator knows them.
#[derive(Debug)]
pub struct Chosen {
    /// The keys.
    pub scope: Scope,
    /// Tenants and what to call them; empty for every tenant.
    pub tenants: Vec<(KeyTenant, String)>,
    /// Service.
    pub service: Option<ServiceName>,
}

impl ScopeArgs {
    /// Finds the ids of the tenants; asks the Tenant Manager for slugs only.
    pub fn resolve(&self, run: &Invocation) -> Result<Chosen, Failure> {
        let mut tenants: Vec<(KeyTenant, String)> = Vec::new();
        for tenant in &self.tenant {
            let named = match tenant {
                TenantRef::Id(id) => (KeyTenant::from(id), id.to_string()),
                TenantRef::Slug(slug) => {
                    let manager = run.tenant_manager().map_err(|failure| {
                        failure.hint("a tenant that is named by id needs no Tenant Manager here")
                    })?;
                    let name = slug.to_string();
                    let found = run.block_on(async move { manager.tenant(&name).await })?;
                    (KeyTenant::from(&found.id), slug.to_string())
                }
            };
            tenants.push(named);
        }
        for id in &self.tenant_id {
            tenants.push((id.clone(), id.to_string()));
        }
        tenants.sort();
        tenants.dedup_by(|a, b| a.0 == b.0);
        let mut scope = Scope::everything();
        if !tenants.is_empty() {
            scope = scope.tenants(tenants.iter().map(|(id, _)| id.clone()));
        }
        if let Some(service) = &self.service {
            scope = scope.service(service.clone());
        }
        Ok(Chosen {
            scope,
            tenants,
            service: self.service.clone(),
        })
    }
}

impl Chosen {
    /// Returns the choice in words: `the caches of tracer of tenant acme`.
    pub fn describe(&self) -> String {
        let service = match &self.service {
            Some(service) => format!("{service} of "),
            None => String::new(),
        };
        let tenants = match self.tenants.as_slice() {
            [] => "every tenant".to_owned(),
            [(_, name)] => format!("tenant {name}"),
            [.., _] => format!("{} tenants", self.tenants.len()),
        };
        format!("{service}{tenants}")
    }
}

/// Returns the servers that hold keys of products: the one with their caches, and, where it is
/// another, the one with the events, which holds the shared tier of resolved connections.
pub fn servers(run: &Invocation) -> Result<Vec<RedisEndpoint>, Failure> {
    let config = run.config()?;
    let mut servers: Vec<RedisEndpoint> = Vec::new();
    for settings in [config.redis()?, config.event_redis()?]
        .into_iter()
        .flatten()
    {
        let endpoint = settings.endpoint(run.secrets())?;
        let same = |known: &RedisEndpoint| {
            known.address() == endpoint.address() && known.database == endpoint.database
        };
        if !servers.iter().any(same) {
            servers.push(endpoint);
        }
    }
    if servers.is_empty() {
        return Err(no_redis());
    }
    Ok(servers)
}

/// Says that no Redis is known, and how to name one.
pub fn no_redis() -> Failure {
    Failure::new(Kind::Usage, "config.no_redis", "no Redis is configured")
        .hint("name one with `LERIANCTL_REDIS_HOST` or `redis` in a context; `MULTI_TENANT_REDIS_HOST` is understood too")
        .hint_command("start a private one", "lerianctl dev up --detach")
}

/// Shows how far walks over several servers have come.
pub struct Watch<'a> {
    view: Progress<'a>,
    animate: bool,
    nodes: Mutex<BTreeMap<String, cache::Progress>>,
}

impl<'a> Watch<'a> {
    /// Begins.
    pub fn new(run: &'a Invocation, title: &str) -> Self {
        Self {
            view: Progress::new(&run.console, title, 0),
            animate: run.console.animate,
            nodes: Mutex::default(),
        }
    }

    /// Takes the news of one server.
    pub fn see(&self, news: cache::Progress) {
        let Ok(mut nodes) = self.nodes.lock() else {
            return;
        };
        nodes.insert(news.node.clone(), news);
        if self.animate {
            let sum = |of: fn(&cache::Progress) -> u64| nodes.values().map(of).sum::<u64>();
            let text = format!("keys, {} caches found", sum(|node| node.found));
            self.view
                .set(sum(|node| node.scanned), sum(|node| node.keys), &text);
        } else {
            self.view.tick();
        }
    }

    /// Returns how many keys were deleted so far.
    pub fn deleted(&self) -> u64 {
        let nodes = self.nodes.lock();
        nodes.map_or(0, |nodes| nodes.values().map(|node| node.deleted).sum())
    }
}
