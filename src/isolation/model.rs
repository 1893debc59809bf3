//! Words of the checker: severity, verdict, check, finding.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Stands for every tenant in a finding's lists.
pub const EVERYONE: &str = "*";

/// How bad a counter-example is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Noted for the reader; never a failure.
    Info,
    /// Hygiene.
    Low,
    /// Metadata leaks, tenants can slow each other down, or hardening that others rely on is gone.
    Medium,
    /// One more ordinary mistake away.
    High,
    /// Another tenant's data can be read or changed now.
    Critical,
}

impl Severity {
    /// Every severity, worst first.
    pub const ALL: [Self; 5] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Info,
    ];

    /// Returns the word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of critical, high, medium, low, info"))
    }
}

/// What a check, or a whole run, concludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A counter-example is at hand.
    Refuted,
    /// It could not be looked at.
    Error,
    /// Sampled, or without what makes the answer certain.
    Unproven,
    /// Every counter-example is waived.
    Waived,
    /// It was tested, and there is no counter-example in what was tested.
    Holds,
    /// A property of how the tenants are kept, which no setting changes.
    Limit,
    /// It does not apply, or was not asked for; the reason says which.
    Skipped,
}

impl Verdict {
    /// Every verdict, worst first.
    pub const ALL: [Self; 7] = [
        Self::Refuted,
        Self::Error,
        Self::Unproven,
        Self::Waived,
        Self::Limit,
        Self::Holds,
        Self::Skipped,
    ];

    /// Returns the word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuted => "refuted",
            Self::Error => "error",
            Self::Unproven => "unproven",
            Self::Waived => "waived",
            Self::Holds => "holds",
            Self::Limit => "limit",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// At what tenants are handed, without a connection.
    Config,
    /// At the catalogues that all databases of a cluster share.
    Cluster,
    /// At the catalogues of every database.
    Database,
    /// At what happens when it is tried with a tenant's own login.
    Live,
    /// At Redis: keys, access lists, subscribers.
    Redis,
    /// At RabbitMQ: virtual hosts, users, permissions, bridges.
    Rabbitmq,
    /// MongoDB: users, roles, databases, transport.
    Mongodb,
    /// Kafka: principals and access lists.
    Kafka,
    /// Object stores: prefixes, keys, policies.
    Objects,
    /// At what a running product answers to the tokens of two tenants.
    Http,
}

impl Family {
    /// Every family, in the order in which they run.
    pub const ALL: [Self; 10] = [
        Self::Config,
        Self::Cluster,
        Self::Database,
        Self::Live,
        Self::Redis,
        Self::Rabbitmq,
        Self::Mongodb,
        Self::Kafka,
        Self::Objects,
        Self::Http,
    ];

    /// Returns the word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Cluster => "cluster",
            Self::Database => "database",
            Self::Live => "live",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Mongodb => "mongodb",
            Self::Kafka => "kafka",
            Self::Objects => "objects",
            Self::Http => "http",
        }
    }
}

/// One claim, with its page of the manual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Stable id.
    pub id: &'static str,
    /// What a counter-example is called.
    pub title: &'static str,
    /// Severity where a finding does not say otherwise.
    pub severity: Severity,
    /// Where it looks.
    pub family: Family,
    /// The claim that is tested.
    pub claim: String,
    /// Why it matters.
    pub why: String,
    /// How it looks.
    pub looks: String,
    /// What mends it, with commands.
    pub remedy: String,
    /// Isolation parameter after PEACH: privilege, encryption, authentication, connectivity, hygiene.
    pub peach: String,
    /// True for what no setting changes.
    pub limit: bool,
    /// True when it is only about databases that tenants share.
    pub schema_mode: bool,
    /// First PostgreSQL version that has what it looks at, as `server_version_num`; 0 for all.
    pub since: i32,
    /// The exact query, where it is one.
    pub sql: Option<String>,
    /// The same for an inventory of few roles.
    pub sql_for_few: Option<String>,
}

impl Check {
    /// Returns the query, where it is one, in the form that is the faster one for an inventory, given
    /// as the JSON that is its parameter. Both forms answer the same.
    pub fn query_for(&self, inventory: &str) -> Option<&str> {
        /// About 60 roles.
        const FEW: usize = 8 << 10;
        let sql = if inventory.len() <= FEW {
            &self.sql_for_few
        } else {
            &self.sql
        };
        sql.as_deref()
    }
}

/// Returns the list of tenants that stands for all of them.
pub(super) fn everyone() -> Vec<String> {
    vec![EVERYONE.to_owned()]
}

/// Returns names as a finding has them.
pub(super) fn owned<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// A counter-example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The same for the same check, store and object in every run.
    pub fingerprint: String,
    /// Id of the check.
    pub check: String,
    /// Title of the check.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Cluster, or other server.
    pub store: String,
    /// What it is about: a database, a role, a schema, a key.
    pub object: String,
    /// Tenants that can reach; `*` is every tenant.
    pub from: Vec<String>,
    /// Tenants that are reached; `*` is every tenant.
    pub to: Vec<String>,
    /// Roles through which it is so, as the server calls them.
    pub roles: Vec<String>,
    /// What proves it; never a password, never a row of a tenant.
    pub evidence: String,
    /// Commands that mend it, in order.
    pub remedy: Vec<String>,
    /// Why it does not count, when it is waived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<Waived>,
    /// True when it was in the baseline already.
    #[serde(default)]
    pub known: bool,
}

/// A waiver as it is shown in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waived {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Last day on which it holds.
    pub expires: String,
    /// True when that day is over: the finding counts again.
    pub expired: bool,
}

impl Finding {
    /// Builds a finding of `check`.
    pub fn new(check: &Check, store: impl Into<String>, object: impl Into<String>) -> Self {
        let (store, object) = (store.into(), object.into());
        let text = format!("{}\0{store}\0{object}", check.id);
        let mut fingerprint = crate::secret::sha256_hex(text.as_bytes());
        fingerprint.truncate(16);
        Self {
            fingerprint,
            check: check.id.to_owned(),
            title: check.title.to_owned(),
            severity: check.severity,
            store,
            object,
            from: Vec::new(),
            to: Vec::new(),
            roles: Vec::new(),
            evidence: String::new(),
            remedy: Vec::new(),
            waiver: None,
            known: false,
        }
    }

    /// Returns true unless a waiver that still holds covers it.
    pub fn counts(&self) -> bool {
        self.waiver.as_ref().is_none_or(|waiver| waiver.expired)
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Id of the check.
    pub check: String,
    /// Title of the check.
    pub title: String,
    /// Family, as a word.
    pub family: String,
    /// Conclusion.
    pub verdict: Verdict,
    /// Counter-examples.
    pub findings: usize,
    /// Places that were looked at: clusters, databases, pairs.
    pub looked_at: u64,
    /// Places that there are.
    pub out_of: u64,
    /// Why it is not simply `holds` or `refuted`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_ordered_and_read_back() {
        assert!(Severity::Critical > Severity::High && Severity::Low > Severity::Info);
        for severity in Severity::ALL {
            assert_eq!(severity.as_str().parse(), Ok(severity));
        }
        assert!("bad".parse::<Severity>().is_err());
    }
}
