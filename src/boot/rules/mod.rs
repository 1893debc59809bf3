//! The rules: what they are in `rules.toml`, when they hold in the functions beside.

mod auth;
mod events;
mod reading;
mod stores;
mod tenancy;
mod tuning;

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, catalogue};
use super::product::Product;
use super::variables::{Variables, shown};

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Without effect, or hardly any.
    Low,
    /// Works, and not as meant.
    Medium,
    /// Does not start, or gives away what it should not.
    High,
    /// Opens tenants to whoever asks.
    Critical,
}

impl Severity {
    /// Every severity, mildest first.
    pub const ALL: [Self; 5] = [
        Self::Info,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];

    /// Returns the severity's word.
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

/// What a finding means for the start of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The product refuses to start.
    Refuses,
    /// The product starts and protects less than it seems.
    Insecure,
    /// The product starts and works, and not as meant.
    Degraded,
    /// The setting does nothing.
    Ignored,
    /// Nothing by itself.
    Note,
}

impl Effect {
    /// Returns the effect's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuses => "refuses",
            Self::Insecure => "insecure",
            Self::Degraded => "degraded",
            Self::Ignored => "ignored",
            Self::Note => "note",
        }
    }
}

/// A rule, as `env explain` tells it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Stable id.
    pub id: String,
    /// The usual severity.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: String,
    /// What the product does at boot.
    pub boot: String,
    /// Why it matters.
    pub why: String,
    /// What public documentation says, where the code does something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documented: Option<String>,
    /// What to do about it.
    pub remedy: String,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        rule: Vec<Rule>,
    }
    let file: File = toml::from_str(include_str!("rules.toml")).expect("a test reads the rules");
    file.rule
});

/// Returns every rule in a fixed order.
pub fn rules() -> &'static [Rule] {
    &RULES
}

/// Returns the rule called `id`.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// Something that a rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Stable id of the rule.
    pub rule: &'static str,
    /// How bad it is here.
    pub severity: Severity,
    /// What it means for the start.
    pub effect: Effect,
    /// The variable that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Where the variable was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// One sentence. Never holds a secret.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// What public documentation says, where the code does something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documented: Option<String>,
}

impl Finding {
    /// Returns a finding of a rule with its usual severity and remedy.
    pub fn new(id: &'static str, effect: Effect, message: impl Into<String>) -> Self {
        let rule = rule(id).expect("a test pairs findings with rules");
        Self {
            rule: id,
            severity: rule.severity,
            effect,
            variable: None,
            place: None,
            message: message.into(),
            remedy: rule.remedy.clone(),
            documented: rule.documented.clone(),
        }
    }

    /// Changes the severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Changes the remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// One product with its variables, while rules are applied.
pub(super) struct Case<'a> {
    pub(super) product: Product,
    pub(super) variables: &'a Variables,
    pub(super) catalogue: &'static Catalogue,
    pub(super) multi_tenant: bool,
    pub(super) auth: bool,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Case<'a> {
    pub(super) fn new(product: Product, variables: &'a Variables) -> Self {
        Self {
            product,
            variables,
            catalogue: catalogue(),
            multi_tenant: variables.flag("MULTI_TENANT_ENABLED", false),
            auth: variables.flag("PLUGIN_AUTH_ENABLED", false),
            findings: Vec::new(),
        }
    }

    /// Applies every rule.
    pub(super) fn judge(mut self) -> Vec<Finding> {
        reading::check(&mut self);
        tenancy::check(&mut self);
        auth::check(&mut self);
        events::check(&mut self);
        stores::check(&mut self);
        tuning::check(&mut self);
        self.findings
    }

    /// Returns the environment as everything but the channel of events sees it.
    fn environment(&self) -> String {
        let text = self.variables.raw("ENV_NAME").unwrap_or_default();
        text.trim().to_lowercase()
    }

    fn is(&self, products: &[Product]) -> bool {
        products.contains(&self.product)
    }

    /// Adds a finding about a variable, with the place where it was written.
    fn about(&mut self, name: &str, mut finding: Finding) {
        finding.place = self
            .variables
            .get(name)
            .map(|entry| entry.place.clone())
            .filter(|place| !place.is_empty());
        finding.variable = Some(name.to_owned());
        self.findings.push(finding);
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Returns a value in backticks, or what stands for it when it is a secret or may hold one.
    fn quoted(&self, name: &str) -> String {
        let text = self.variables.raw(name).unwrap_or_default();
        if self.catalogue.is_secret(name) || text.contains('@') {
            return "its value".to_owned();
        }
        format!("`{}`", shown(text))
    }
}

/// Returns the host of an address, without user and port.
fn host_of(address: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    url.host_str().map(str::to_ascii_lowercase)
}

/// Returns true for an address on this machine.
fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Returns true for a name that is resolved within one cluster or one compose network only.
fn is_cluster(host: &str) -> bool {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let bare = labels.len() == 1 && !host.contains(':');
    bare || labels.ends_with(&["svc"]) || labels.ends_with(&["svc", "cluster", "local"])
}

#[cfg(test)]
mod tests;
