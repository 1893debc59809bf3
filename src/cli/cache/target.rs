//! Which keys on which servers a command is about.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cache::{self, KeyTenant, Scope};
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::contract::ServiceName;
use crate::contract::ids::TenantRef;
use crate::link::redis::RedisEndpoint;
use crate::output::Console;
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
    /// Returns the choice in words: `tracer of tenant acme`.
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

/// Longest silence without a terminal, so that a log shows life.
const SILENCE: Duration = Duration::from_secs(10);

/// Shows how far walks over several servers have come.
pub struct Watch<'a> {
    console: &'a Console,
    view: Progress<'a>,
    title: &'static str,
    seen: Mutex<Seen>,
}

struct Seen {
    nodes: BTreeMap<String, cache::Progress>,
    told: Instant,
}

impl<'a> Watch<'a> {
    /// Begins.
    pub fn new(run: &'a Invocation, title: &'static str) -> Self {
        Self {
            console: &run.console,
            view: Progress::new(&run.console, title, 0),
            title,
            seen: Mutex::new(Seen {
                nodes: BTreeMap::new(),
                told: Instant::now(),
            }),
        }
    }

    /// Takes the news of one server.
    pub fn see(&self, news: cache::Progress) {
        let Ok(mut seen) = self.seen.lock() else {
            return;
        };
        seen.nodes.insert(news.node.clone(), news);
        let sum = |of: fn(&cache::Progress) -> u64| seen.nodes.values().map(of).sum::<u64>();
        let (scanned, keys) = (sum(|node| node.scanned), sum(|node| node.keys));
        let found = sum(|node| node.found);
        if self.console.animate {
            let text = format!("keys, {found} caches found");
            self.view.set(scanned, keys, &text);
        } else if seen.told.elapsed() >= SILENCE {
            seen.told = Instant::now();
            let title = self.title;
            self.console
                .status(format!("{title}: {scanned} of {keys} keys, {found} found"));
        }
    }

    /// Returns how many keys were deleted so far.
    pub fn deleted(&self) -> u64 {
        let seen = self.seen.lock();
        seen.map_or(0, |seen| seen.nodes.values().map(|node| node.deleted).sum())
    }
}
