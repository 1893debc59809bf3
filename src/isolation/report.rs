//! The outcome of a run, as it is kept, printed and compared.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{CheckResult, EVERYONE, Finding, Severity, Verdict};
use super::sittings::Sitting;

/// Version of the form of a report; raised when a key changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// What a run found, and what it did not look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// Version of this form.
    pub schema_version: u32,
    /// Version of the program.
    pub tool_version: String,
    /// Id of the run.
    pub run: String,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_seconds: f64,
    /// The parts that it was made in, where it was cut short and went on; catalogues, other servers
    /// and the control are of the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sittings: Vec<Sitting>,
    /// Conclusion.
    pub verdict: Verdict,
    /// One sentence that says why.
    pub because: String,
    /// Findings that count, by severity.
    pub counts: BTreeMap<Severity, usize>,
    /// What was looked at.
    pub fleet: Fleet,
    /// How much of it was looked at.
    pub coverage: Coverage,
    /// Whether planted breaches were found.
    pub control: Control,
    /// Counter-examples, worst first.
    pub findings: Vec<Finding>,
    /// What no setting changes.
    pub limits: Vec<Finding>,
    /// Noted for the reader.
    pub notes: Vec<Finding>,
    /// What each check came to.
    pub checks: Vec<CheckResult>,
    /// What was not tested, and why. Never left out.
    pub not_tested: Vec<NotTested>,
    /// Waivers that matched nothing.
    #[serde(default)]
    pub unused_waivers: Vec<String>,
}

/// The fleet of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Where the inventory comes from.
    pub source: String,
    /// Digest of who has what.
    pub inventory: String,
    /// Names of the tenants.
    pub tenants: Vec<String>,
    /// Databases and schemas.
    pub stores: usize,
    /// Clusters.
    pub clusters: Vec<ClusterFacts>,
    /// Other servers that were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerFacts>,
}

/// One server that is no PostgreSQL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerFacts {
    /// Product, as a word.
    pub kind: String,
    /// `host:port`.
    pub address: String,
    /// Version of the server.
    pub version: String,
    /// Who asked it.
    pub reader: String,
}

/// One PostgreSQL cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterFacts {
    /// `host:port`.
    pub address: String,
    /// Version of the server; empty when it could not be reached.
    pub version: String,
    /// Identity of the cluster's data.
    pub system: String,
    /// Who read its catalogues.
    pub reader: String,
    /// Databases that hold one tenant.
    pub databases: usize,
    /// Schemas in databases that tenants share.
    pub schemas: usize,
}

/// How much was looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Ordered pairs of tenants on one cluster whose catalogues were read: all of these are answered.
    pub pairs: u64,
    /// Databases whose catalogues were read.
    pub databases_read: u64,
    /// Databases that there are.
    pub databases: u64,
    /// Logins of tenants that were tried in their own place.
    pub logins_tried: u64,
    /// Logins of tenants that there are.
    pub logins: u64,
    /// Attempts across tenants.
    pub probes: u64,
    /// Derangements that they made up; 0 when every pair was tried.
    pub derangements: u32,
    /// Seed of the derangements.
    pub seed: u64,
    /// True when every pair was tried.
    pub exhaustive: bool,
    /// Fraction of pairs that may be open and still be missed with 5 % probability; 0 when every
    /// pair was tried.
    pub bound: f64,
    /// Sessions that were open at the same time, at most: from before they are opened until the
    /// server has closed them.
    pub connections: u32,
    /// Statements that read catalogues.
    pub statements: u64,
}

/// What became of the planted breaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// Conclusion.
    pub state: ControlState,
    /// Breaches that were planted.
    pub planted: usize,
    /// Breaches that were found.
    pub detected: usize,
    /// Checks that did not find theirs.
    pub missed: Vec<String>,
    /// Checks that nothing was planted for: it cannot be, or this login may not.
    pub uncontrolled: Vec<String>,
    /// Why there was no control, if so.
    pub reason: String,
}

/// Conclusion of the negative control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ControlState {
    /// Every planted breach was found.
    Detected,
    /// One was not: the checker cannot be trusted.
    Missed,
    /// Nothing could be planted.
    Impossible,
    /// It was switched off.
    Off,
}

/// Something that was not tested.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct NotTested {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What one tenant can do to another, as a cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Nothing was found.
    Holds,
    /// Refuted, with the worst severity.
    Refuted(Severity),
}

impl Isolation {
    /// Returns what was not tested, and why, for readers: checks for which the reason is the same
    /// stand together, by their ids; one that is alone has its title.
    pub fn gaps(&self) -> Vec<(String, &str)> {
        let id_of = |what: &str| what.split_once(" · ").map(|(id, _)| id.to_owned());
        let mut gaps: Vec<(Vec<&str>, &str)> = Vec::new();
        for gap in &self.not_tested {
            let same = |(whats, why): &&mut (Vec<&str>, &str)| {
                *why == gap.why && id_of(whats[0]).is_some() && id_of(&gap.what).is_some()
            };
            match gaps.iter_mut().find(same) {
                Some((whats, _)) => whats.push(&gap.what),
                None => gaps.push((vec![&gap.what], &gap.why)),
            }
        }
        let named = |whats: Vec<&str>| match whats.as_slice() {
            [one] => (*one).to_owned(),
            many => many
                .iter()
                .filter_map(|what| id_of(what))
                .collect::<Vec<_>>()
                .join(", "),
        };
        gaps.into_iter()
            .map(|(whats, why)| (named(whats), why))
            .collect()
    }

    /// Returns the checks that are unproven, and why; those for which the reason is the same stand
    /// together.
    pub fn in_part(&self) -> Vec<(String, &str)> {
        let mut reasons: Vec<(Vec<&str>, &str)> = Vec::new();
        let unproven = |check: &&CheckResult| check.verdict == Verdict::Unproven;
        for check in self.checks.iter().filter(unproven) {
            match reasons.iter_mut().find(|(_, why)| *why == check.reason) {
                Some((ids, _)) => ids.push(&check.check),
                None => reasons.push((vec![&check.check], &check.reason)),
            }
        }
        reasons
            .into_iter()
            .map(|(ids, why)| (ids.join(", "), why))
            .collect()
    }

    /// Returns the worst findings between every two tenants, as (from, to) positions in the list
    /// of tenants; pairs without a finding are left out.
    pub fn matrix(&self) -> BTreeMap<(usize, usize), Severity> {
        let names = &self.fleet.tenants;
        let place: BTreeMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at))
            .collect();
        let spread = |list: &[String]| -> BTreeSet<usize> {
            if list.iter().any(|name| name == EVERYONE) {
                (0..names.len()).collect()
            } else {
                list.iter()
                    .filter_map(|name| place.get(name.as_str()).copied())
                    .collect()
            }
        };
        let mut cells: BTreeMap<(usize, usize), Severity> = BTreeMap::new();
        for finding in self.findings.iter().filter(|finding| finding.counts()) {
            let to = spread(&finding.to);
            for from in spread(&finding.from) {
                for to in to.iter().copied().filter(|to| *to != from) {
                    let cell = cells.entry((from, to)).or_insert(finding.severity);
                    *cell = (*cell).max(finding.severity);
                }
            }
        }
        cells
    }

    /// Returns the first line of every report.
    pub fn headline(&self) -> String {
        let word = match self.verdict {
            Verdict::Refuted => "ISOLATION REFUTED",
            Verdict::Error => "ISOLATION NOT PROVED: THE CHECK WENT WRONG",
            Verdict::Unproven => "ISOLATION UNPROVEN",
            _ => "ISOLATION HOLDS",
        };
        let counts: Vec<String> = Severity::ALL
            .into_iter()
            .filter_map(|severity| {
                let count = self.counts.get(&severity).copied().unwrap_or(0);
                (count > 0).then(|| format!("{count} {severity}"))
            })
            .collect();
        let counts = if counts.is_empty() {
            "no findings".to_owned()
        } else {
            counts.join(", ")
        };
        format!("{word}: {counts}")
    }

    /// Returns how many tenants a list of a finding stands for.
    pub fn count(&self, list: &[String]) -> usize {
        if list.iter().any(|name| name == EVERYONE) {
            self.fleet.tenants.len()
        } else {
            list.len()
        }
    }
}
