//! One product with one environment: what it would do at boot.

use schemars::JsonSchema;
use serde::Serialize;

use super::product::Product;
use super::rules::{Case, Effect, Finding, Severity};
use super::variables::Variables;

/// Whom the product serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tenancy {
    /// Everybody shares the static databases.
    SingleTenant,
    /// Databases per tenant, in the customer's own cloud.
    ByocMultiTenant,
    /// Databases per tenant and TLS everywhere, as the vendor hosts it.
    SaasMultiTenant,
}

impl Tenancy {
    /// Returns it for a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleTenant => "single-tenant",
            Self::ByocMultiTenant => "BYOC multi-tenant",
            Self::SaasMultiTenant => "SaaS-style multi-tenant",
        }
    }
}

/// What the product does at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Starts.
    Boots,
    /// Starts, and protects less than it seems.
    BootsInsecurely,
    /// Refuses to start.
    RefusesToStart,
}

/// What a product would do with an environment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assessment {
    /// Where the environment comes from, for a person.
    pub source: String,
    /// The product.
    pub product: Product,
    /// Version whose rules were applied.
    pub version: &'static str,
    /// Whom it serves.
    pub tenancy: Tenancy,
    /// What it does at boot.
    pub verdict: Verdict,
    /// Why, when it is not simply `boots`: the sentences of the findings that decide.
    pub reasons: Vec<String>,
    /// How many variables were looked at.
    pub variables: usize,
    /// Everything found, worst first.
    pub findings: Vec<Finding>,
}

impl Assessment {
    /// Applies the rules of `product`.
    pub fn of(source: impl Into<String>, product: Product, variables: &Variables) -> Self {
        let saas = variables
            .text("DEPLOYMENT_MODE")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("saas"));
        let case = Case::new(product, variables);
        let tenancy = match (case.multi_tenant, saas) {
            (false, _) => Tenancy::SingleTenant,
            (true, false) => Tenancy::ByocMultiTenant,
            (true, true) => Tenancy::SaasMultiTenant,
        };
        let mut assessment = Self {
            source: source.into(),
            product,
            version: product.version(),
            tenancy,
            verdict: Verdict::Boots,
            reasons: Vec::new(),
            variables: variables.len(),
            findings: case.judge(),
        };
        assessment.settle();
        assessment
    }

    /// Sorts the findings and draws the verdict from them.
    fn settle(&mut self) {
        self.findings.sort_by_key(|finding| {
            let refuses = finding.effect == Effect::Refuses;
            (std::cmp::Reverse(finding.severity), !refuses)
        });
        let refuses = |finding: &&Finding| finding.effect == Effect::Refuses;
        let insecure = |finding: &&Finding| {
            finding.effect == Effect::Insecure && finding.severity >= Severity::High
        };
        let reasons = |pick: &dyn Fn(&&Finding) -> bool| -> Vec<String> {
            let picked = self.findings.iter().filter(|finding| pick(finding));
            picked.map(|finding| finding.message.clone()).collect()
        };
        (self.verdict, self.reasons) = if self.findings.iter().any(|it| refuses(&it)) {
            (Verdict::RefusesToStart, reasons(&refuses))
        } else if self.findings.iter().any(|it| insecure(&it)) {
            (Verdict::BootsInsecurely, reasons(&insecure))
        } else {
            (Verdict::Boots, Vec::new())
        };
    }

    /// Adds a finding, such as one about connections.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.settle();
    }

    /// Returns the verdict as one line.
    pub fn sentence(&self) -> String {
        let tenancy = self.tenancy.as_str();
        let more = match self.reasons.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let first = self.reasons.first().map(String::as_str).unwrap_or_default();
        match self.verdict {
            Verdict::Boots => format!("boots ({tenancy})"),
            Verdict::BootsInsecurely => format!("boots insecurely ({tenancy}): {first}{more}"),
            Verdict::RefusesToStart => format!("refuses to start: {first}{more}"),
        }
    }
}
