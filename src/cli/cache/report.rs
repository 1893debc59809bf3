//! What a flush did, or would do.

use std::collections::BTreeMap;
use std::fmt;

use crate::cache::{self, Flush, Kept, Tally};
use crate::output::{Report, Rows, Tone, View};

/// What a flush did, or would do.
#[derive(Debug, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheFlushReport {
    /// True when nothing was done because only a plan was asked for.
    pub dry_run: bool,
    /// False when there was nothing to delete and nobody to tell.
    pub changed: bool,
    /// What was chosen, in words.
    pub scope: String,
    /// Hash of the plan: scope, servers and kinds, without the counts, which change by themselves.
    pub plan: String,
    /// Caches by kind.
    pub classes: Vec<FlushedClass>,
    /// Caches by server.
    pub servers: Vec<FlushedServer>,
    /// Keys in scope that stay, with the reason.
    pub kept: Vec<KeptClass>,
    /// Names of some keys that stay because nobody knows them, or their type is wrong.
    pub samples: Vec<String>,
    /// What products are told, in words.
    pub events: Vec<String>,
    /// Tenants that products were told about.
    pub told: Vec<Told>,
    /// Things the operator should know.
    pub warnings: Vec<String>,
}

/// Caches of one kind.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlushedClass {
    /// Kind.
    pub class: String,
    /// What it is.
    pub what: String,
    /// Keys found.
    pub found: u64,
    /// Keys deleted; the others expired meanwhile.
    pub deleted: u64,
    /// Tenants that they belong to.
    pub tenants: u64,
}

/// Caches on one server.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlushedServer {
    /// `host:port`.
    pub server: String,
    /// Keys that it held, of any kind.
    pub keys: u64,
    /// Caches found.
    pub found: u64,
    /// Caches deleted.
    pub deleted: u64,
}

/// Keys of one kind that stay.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptClass {
    /// Kind.
    pub class: String,
    /// `pointless`, `no`, `never` or `unclassified`; `refused` where the kind is a cache.
    pub verdict: String,
    /// Why they stay.
    pub reason: String,
    /// How many there are.
    pub keys: u64,
}

/// A tenant that products were told about.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Slug, or the id when that was given.
    pub tenant: String,
    /// Events that are published.
    pub events: Vec<String>,
    /// Why products were not told.
    pub error: Option<String>,
}

impl Told {
    /// Returns a tenant that products were not told about.
    pub fn failed(tenant: &str, error: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            events: Vec::new(),
            error: Some(error.to_owned()),
        }
    }
}

impl CacheFlushReport {
    /// Adds the counts of one deployment.
    pub fn add(&mut self, flush: Flush) {
        for node in &flush.nodes {
            self.servers.push(FlushedServer {
                server: node.name.clone(),
                keys: node.keys,
                found: node.tally.found.values().sum(),
                deleted: node.tally.deleted.values().sum(),
            });
        }
        let total = flush.total();
        self.add_classes(&total);
        for ((id, why), keys) in total.kept {
            let Some(class) = cache::class(id) else {
                continue;
            };
            let reason = why.describe(class);
            match self
                .kept
                .iter_mut()
                .find(|known| known.class == id && known.reason == reason)
            {
                Some(known) => known.keys += keys,
                None => self.kept.push(KeptClass {
                    class: id.to_owned(),
                    verdict: match why {
                        Kept::Verdict(verdict) => verdict.as_str().to_owned(),
                        Kept::Refused(_) | Kept::Type(_) => "refused".to_owned(),
                    },
                    reason,
                    keys,
                }),
            }
        }
        self.samples.extend(total.samples);
    }

    fn add_classes(&mut self, total: &Tally) {
        let mut sums = BTreeMap::<&str, (u64, u64, u64)>::new();
        for ((_, class), keys) in &total.found {
            let sum = sums.entry(class).or_default();
            sum.0 += keys;
            sum.2 += 1;
        }
        for ((_, class), keys) in &total.deleted {
            sums.entry(class).or_default().1 += keys;
        }
        for (id, (found, deleted, tenants)) in sums {
            match self.classes.iter_mut().find(|known| known.class == id) {
                Some(known) => {
                    known.found += found;
                    known.deleted += deleted;
                    known.tenants = known.tenants.max(tenants);
                }
                None => self.classes.push(FlushedClass {
                    class: id.to_owned(),
                    what: cache::class(id).map_or("", |class| class.reason).to_owned(),
                    found,
                    deleted,
                    tenants,
                }),
            }
        }
    }

    /// Returns how many caches were found.
    pub fn found(&self) -> u64 {
        self.servers.iter().map(|server| server.found).sum()
    }

    /// Returns how many caches were deleted.
    pub fn deleted(&self) -> u64 {
        self.servers.iter().map(|server| server.deleted).sum()
    }

    fn classes_table(&self) -> Rows {
        Rows {
            columns: vec!["kind", "found", "deleted", "tenants", "what"],
            wide: Vec::new(),
            cells: self
                .classes
                .iter()
                .map(|class| {
                    vec![
                        class.class.clone(),
                        class.found.to_string(),
                        class.deleted.to_string(),
                        class.tenants.to_string(),
                        class.what.clone(),
                    ]
                })
                .collect(),
            items: Vec::new(),
        }
    }

    fn kept_table(&self) -> Rows {
        Rows {
            columns: vec!["kind", "verdict", "keys", "why"],
            wide: Vec::new(),
            cells: self
                .kept
                .iter()
                .map(|kept| {
                    vec![
                        kept.class.clone(),
                        kept.verdict.clone(),
                        kept.keys.to_string(),
                        kept.reason.clone(),
                    ]
                })
                .collect(),
            items: Vec::new(),
        }
    }
}

impl Report for CacheFlushReport {
    const KIND: &'static str = "CacheFlush";

    fn human(&self, out: &mut View) -> fmt::Result {
        let (tone, text) = match (self.dry_run, self.found(), self.deleted()) {
            (_, 0, _) => (Tone::Dim, "no caches in Redis".to_owned()),
            (true, found, _) => (Tone::Strong, format!("{found} keys would be deleted")),
            (false, _, deleted) => (Tone::Good, format!("{deleted} keys deleted")),
        };
        out.paint(Tone::Strong, "cache flush")
            .plain(format!(" {}: ", self.scope))
            .paint(tone, text)
            .line();
        if !self.classes.is_empty() {
            out.table(&self.classes_table());
        }
        if self.servers.len() > 1 {
            for server in &self.servers {
                let text = format!(
                    "{}: {} found, {} deleted, of {} keys",
                    server.server, server.found, server.deleted, server.keys
                );
                out.paint(Tone::Dim, text).line();
            }
        }
        if !self.kept.is_empty() {
            out.paint(Tone::Strong, "kept").line();
            out.table(&self.kept_table());
        }
        if !self.samples.is_empty() {
            out.plain("not known, or of the wrong type, for example:")
                .line();
            for key in &self.samples {
                out.plain("  ").plain(key).line();
            }
        }
        if self.dry_run {
            for event in &self.events {
                out.plain("would publish ")
                    .paint(Tone::Strong, event)
                    .line();
            }
        }
        for told in self.told.iter().filter(|told| told.error.is_none()) {
            out.plain(format!("products are told about {}: ", told.tenant))
                .plain(match told.events.len() {
                    0 => "no service is associated, so no event".to_owned(),
                    _ => told.events.join(", "),
                })
                .line();
        }
        for warning in &self.warnings {
            out.paint(Tone::Warn, "warning:")
                .plain(" ")
                .plain(warning)
                .line();
        }
        if self.dry_run {
            out.plain("plan: ").plain(&self.plan).line();
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        let names: Vec<&str> = self
            .classes
            .iter()
            .map(|class| class.class.as_str())
            .collect();
        Some(names.join(" "))
    }
}
