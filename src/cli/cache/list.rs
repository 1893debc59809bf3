//! `lerianctl cache list`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use clap::Args;

use super::target::{ScopeArgs, Watch, servers};
use crate::cache::{self, Census, CensusRow, Kept, KeyTenant};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::output::{Report, Rows, Tone, View};

/// Count the keys of products by kind
///
/// Reads the names of keys, never their values. Without a choice, every tenant's keys count.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl cache list                            caches of all tenants\n  lerianctl cache list --tenant acme --all        everything that a tenant has in Redis\n  lerianctl cache list --service ledger --by-tenant"
)]
pub struct ListArgs {
    #[command(flatten)]
    scope: ScopeArgs,

    /// Count what is not a cache too: balances, locks, duplicate guards, unknown keys
    #[arg(long)]
    all: bool,

    /// One line per tenant and kind
    #[arg(long)]
    by_tenant: bool,
}

/// Counts keys.
pub fn list(run: &Invocation, args: &ListArgs) -> Result<CacheListReport, Failure> {
    let servers = servers(run)?;
    let chosen = args.scope.resolve(run)?;
    let watch = Watch::new(run, "reading names of keys");
    let mut report = CacheListReport::default();
    let mut lines = BTreeMap::<_, Line>::new();
    for endpoint in &servers {
        let census = run.block_on(async {
            let mut deployment = endpoint.primaries().await?;
            cache::census(&mut deployment, &chosen.scope, &|news| watch.see(news)).await
        })?;
        report.add(&endpoint.address(), &census);
        for row in &census.rows {
            if !args.all && !row.is_deletable() {
                report.others += row.keys;
                continue;
            }
            let tenant = row.tenant.clone().filter(|_| args.by_tenant);
            let key = (tenant, row.class.id, row.refusal, row.service.clone());
            lines.entry(key).or_default().add(row);
        }
    }
    drop(watch);
    report.items = lines
        .into_iter()
        .map(|((tenant, _, _, service), line)| line.item(tenant, service))
        .collect();
    Ok(report)
}

/// What several rows of a census add up to.
#[derive(Default)]
struct Line {
    keys: u64,
    tenants: BTreeSet<Option<KeyTenant>>,
    sample: Option<CensusRow>,
}

impl Line {
    fn add(&mut self, row: &CensusRow) {
        self.keys += row.keys;
        self.tenants.insert(row.tenant.clone());
        self.sample.get_or_insert_with(|| row.clone());
    }

    fn item(self, tenant: Option<KeyTenant>, service: Option<String>) -> CacheKind {
        let row = self.sample.expect("a line is made with its first row");
        let reason = match row.refusal {
            Some(refusal) => Kept::Refused(refusal).describe(row.class),
            None => row.class.reason.to_owned(),
        };
        CacheKind {
            class: row.class.id.to_owned(),
            service: service.unwrap_or_default(),
            tenant: tenant.map(|tenant| tenant.to_string()),
            tenants: self.tenants.into_iter().flatten().count() as u64,
            keys: self.keys,
            flushable: row.is_deletable(),
            verdict: row.class.verdict.as_str().to_owned(),
            pattern: row.class.pattern(),
            ttl: row.class.ttl.to_owned(),
            reason,
        }
    }
}

/// Keys by kind.
#[derive(Debug, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheListReport {
    /// Kinds of keys.
    items: Vec<CacheKind>,
    /// Keys in scope that are not caches and were not asked for.
    others: u64,
    /// Servers that were read.
    servers: Vec<CacheServer>,
    /// Names of some keys that are not in the map of known keys.
    unclassified: Vec<String>,
    /// Keys whose tenant id is not spelled with 32 lower-case digits, by tenant.
    misspelled: BTreeMap<String, u64>,
    /// Keys that were not counted apart, because there are too many kinds and tenants.
    beyond: u64,
}

/// A kind of key.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CacheKind {
    /// Kind.
    class: String,
    /// Service that it belongs to; empty when any may write it.
    service: String,
    /// Tenant, with `--by-tenant`; null for keys of the deployment.
    tenant: Option<String>,
    /// Tenants that have such keys.
    tenants: u64,
    /// How many there are.
    keys: u64,
    /// Whether `cache flush` deletes them.
    flushable: bool,
    /// `safe`, `pointless`, `no`, `never` or `unclassified`.
    verdict: String,
    /// Pattern of the keys.
    pattern: String,
    /// How long they live.
    ttl: String,
    /// What they are for, and why the verdict.
    reason: String,
}

/// A server that was read.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CacheServer {
    /// `host:port`.
    server: String,
    /// Keys that it holds, of any kind.
    keys: u64,
}

impl CacheListReport {
    fn add(&mut self, server: &str, census: &Census) {
        self.servers.push(CacheServer {
            server: server.to_owned(),
            keys: census.keys,
        });
        self.unclassified.extend(census.samples.iter().cloned());
        for (tenant, keys) in &census.misspelled {
            *self.misspelled.entry(tenant.to_string()).or_default() += keys;
        }
        self.beyond += census.beyond;
    }
}

impl Report for CacheListReport {
    const KIND: &'static str = "CacheList";

    fn human(&self, out: &mut View) -> fmt::Result {
        if self.items.is_empty() {
            out.plain("no caches").line();
        } else if let Some(rows) = self.rows() {
            out.table(&rows);
        }
        for server in &self.servers {
            out.paint(
                Tone::Dim,
                format!("{}: {} keys of any kind", server.server, server.keys),
            )
            .line();
        }
        if self.others > 0 {
            let text = format!("{} keys are not caches; `--all` shows them", self.others);
            out.paint(Tone::Dim, text).line();
        }
        if self.items.iter().any(|item| item.verdict == "unclassified") {
            out.plain("unclassified, for example:").line();
            for key in &self.unclassified {
                out.plain("  ").plain(key).line();
            }
        }
        for (tenant, keys) in &self.misspelled {
            out.paint(Tone::Warn, "warning:")
                .plain(format!(
                    " {keys} keys spell tenant {tenant} in another way: Midaz loses balance updates of a tenant with a dashed id"
                ))
                .line();
        }
        if self.beyond > 0 {
            out.paint(Tone::Warn, "warning:")
                .plain(format!(" {} keys more were not told apart", self.beyond))
                .line();
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let by_tenant = self.items.iter().any(|item| item.tenant.is_some());
        let mut columns = vec!["kind", "service", "verdict", "keys", "tenants", "what"];
        if by_tenant {
            columns[4] = "id";
        }
        Some(Rows {
            columns,
            wide: vec!["pattern", "ttl", "flushable"],
            cells: self
                .items
                .iter()
                .map(|item| {
                    vec![
                        item.class.clone(),
                        item.service.clone(),
                        item.verdict.clone(),
                        item.keys.to_string(),
                        if by_tenant {
                            item.tenant.clone().unwrap_or_default()
                        } else {
                            item.tenants.to_string()
                        },
                        item.reason.clone(),
                        item.pattern.clone(),
                        item.ttl.clone(),
                        item.flushable.to_string(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
