//! Several products together: what must be the same in all of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::product::Product;
use super::rules::{Effect, Finding, Severity};
use super::variables::{Value, Variables, shown};

/// One of the environments that are compared.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Where it comes from.
    pub source: &'a str,
    /// The product.
    pub product: Product,
    /// Its variables.
    pub variables: &'a Variables,
}

impl Side<'_> {
    fn name(&self) -> String {
        format!("{} ({})", self.product, self.source)
    }

    fn multi_tenant(&self) -> bool {
        self.variables.flag("MULTI_TENANT_ENABLED", false)
    }
}

/// A difference between products.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Difference {
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// The environments, grouped by what they say: those in one group agree.
    pub groups: Vec<Vec<String>>,
}

/// Returns what differs and must not.
pub fn compare(sides: &[Side<'_>]) -> Vec<Difference> {
    let mut out = Vec::new();
    if sides.len() < 2 {
        return out;
    }
    let tenancy = |side: &Side<'_>| Some(if side.multi_tenant() { "on" } else { "off" }.to_owned());
    report(
        sides,
        "differ-tenancy",
        "MULTI_TENANT_ENABLED",
        tenancy,
        &mut out,
    );
    let tenants: Vec<Side<'_>> = sides.iter().copied().filter(Side::multi_tenant).collect();
    report(&tenants, "differ-url", "MULTI_TENANT_URL", url, &mut out);
    let listeners: Vec<Side<'_>> = tenants
        .iter()
        .copied()
        .filter(|side| !matches!(side.product, Product::Matcher | Product::Reporter))
        .collect();
    report(
        &listeners,
        "differ-redis",
        "MULTI_TENANT_REDIS_HOST",
        redis,
        &mut out,
    );
    let channel = |side: &Side<'_>| side.variables.channel_environment();
    report(
        &listeners,
        "differ-environment",
        "ENV_NAME",
        channel,
        &mut out,
    );
    let checking: Vec<Side<'_>> = sides
        .iter()
        .copied()
        .filter(|side| side.variables.flag("PLUGIN_AUTH_ENABLED", false))
        .filter(|side| side.product != Product::Matcher)
        .collect();
    report(
        &checking,
        "differ-auth",
        "PLUGIN_AUTH_ADDRESS",
        auth,
        &mut out,
    );
    keys(&tenants, &mut out);
    services(&tenants, &mut out);
    out
}

fn url(side: &Side<'_>) -> Option<String> {
    let text = side.variables.text("MULTI_TENANT_URL")?;
    // Another spelling of the same place is no difference.
    let normal = url::Url::parse(text).map_or_else(|_| text.to_owned(), |url| url.to_string());
    Some(normal.trim_end_matches('/').to_owned())
}

fn redis(side: &Side<'_>) -> Option<String> {
    let host = side.variables.text("MULTI_TENANT_REDIS_HOST")?;
    let port = side
        .variables
        .text("MULTI_TENANT_REDIS_PORT")
        .unwrap_or("6379");
    let implied = side.product == Product::Tracer;
    let tls = side.variables.flag("MULTI_TENANT_REDIS_TLS", implied);
    let tls = if tls { "TLS" } else { "no TLS" };
    Some(format!("{}:{port}, {tls}", host.to_lowercase()))
}

fn auth(side: &Side<'_>) -> Option<String> {
    let text = side.variables.text(side.product.auth_variable())?;
    Some(text.trim_end_matches('/').to_owned())
}

/// Groups by what each side says; sides that say nothing known are left out.
fn report(
    sides: &[Side<'_>],
    rule: &'static str,
    variable: &str,
    says: impl Fn(&Side<'_>) -> Option<String>,
    out: &mut Vec<Difference>,
) {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for side in sides {
        if let Some(text) = says(side) {
            groups.entry(text).or_default().push(side.name());
        }
    }
    if groups.len() < 2 {
        return;
    }
    let parts: Vec<String> = groups
        .iter()
        .map(|(text, names)| {
            // A URL with a user in it may hold a password.
            let text = if text.contains('@') {
                "a value with a user".to_owned()
            } else {
                shown(text)
            };
            format!("{}: {text}", names.join(", "))
        })
        .collect();
    out.push(difference(
        rule,
        variable,
        parts.join("; "),
        groups.into_values(),
    ));
}

fn difference(
    rule: &'static str,
    variable: &str,
    message: String,
    groups: impl Iterator<Item = Vec<String>>,
) -> Difference {
    let mut finding = Finding::new(rule, Effect::Degraded, message);
    finding.variable = Some(variable.to_owned());
    Difference {
        finding,
        groups: groups.collect(),
    }
}

/// Keys are compared without being shown, in constant time.
fn keys(sides: &[Side<'_>], out: &mut Vec<Difference>) {
    const NAME: &str = "MULTI_TENANT_SERVICE_API_KEY";
    let mut groups: Vec<(&crate::secret::Secret, Vec<String>)> = Vec::new();
    for side in sides {
        let Some(Value::Known(key)) = side.variables.get(NAME).map(|entry| &entry.value) else {
            continue;
        };
        if key.expose().trim().is_empty() {
            continue;
        }
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, names)) => names.push(side.name()),
            None => groups.push((key, vec![side.name()])),
        }
    }
    if groups.len() > 1 {
        let names: Vec<String> = groups.iter().map(|(_, names)| names.join(", ")).collect();
        let message = format!("the API keys are not the same: {}", names.join("; "));
        out.push(difference(
            "differ-api-key",
            NAME,
            message,
            groups.into_iter().map(|(_, names)| names),
        ));
    }
}

fn services(sides: &[Side<'_>], out: &mut Vec<Difference>) {
    let mut by_name: BTreeMap<&str, Vec<&Side<'_>>> = BTreeMap::new();
    for side in sides {
        let reads = matches!(
            side.product,
            Product::Ledger | Product::Ledger4 | Product::Crm | Product::Tracer | Product::Fees
        );
        if let Some(name) = side.variables.text("APPLICATION_NAME").filter(|_| reads) {
            by_name.entry(name).or_default().push(side);
        }
    }
    for (name, sides) in by_name {
        let first = sides[0].product;
        if sides.iter().any(|side| side.product != first) {
            let names: Vec<String> = sides.iter().map(|side| side.name()).collect();
            let message = format!("{} are all `{}`", names.join(", "), shown(name));
            let mut found = difference(
                "same-service",
                "APPLICATION_NAME",
                message,
                std::iter::once(names),
            );
            found.finding.severity = Severity::Low;
            out.push(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(pairs: &[(Product, &[(&str, &str)])]) -> Vec<&'static str> {
        let variables: Vec<Variables> = pairs
            .iter()
            .map(|(_, pairs)| pairs.iter().copied().collect())
            .collect();
        let sides: Vec<Side<'_>> = pairs
            .iter()
            .zip(&variables)
            .map(|((product, _), variables)| Side {
                source: "a file",
                product: *product,
                variables,
            })
            .collect();
        let found = compare(&sides);
        let said = format!("{found:?}");
        assert!(!said.contains("hunter"), "{said}");
        found.iter().map(|it| it.finding.rule).collect()
    }

    const BASE: [(&str, &str); 6] = [
        ("MULTI_TENANT_ENABLED", "true"),
        ("MULTI_TENANT_URL", "https://tm.example"),
        ("MULTI_TENANT_SERVICE_API_KEY", "hunter2"),
        ("MULTI_TENANT_REDIS_HOST", "redis"),
        ("MULTI_TENANT_REDIS_TLS", "true"),
        ("ENV_NAME", "production"),
    ];

    #[test]
    fn what_must_agree_is_compared_and_what_need_not_is_not() {
        let none: [&str; 0] = [];
        let with = |name: &'static str, value: &'static str| {
            let mut pairs = BASE.to_vec();
            pairs.retain(|pair| pair.0 != name);
            pairs.push((name, value));
            pairs
        };
        let against = |other: &[(&'static str, &'static str)]| {
            rules(&[(Product::Ledger, &BASE[..]), (Product::Tracer, other)])
        };
        assert_eq!(against(&BASE), none);
        assert_eq!(rules(&[(Product::Ledger, &BASE[..])]), none);
        assert_eq!(
            against(&with("MULTI_TENANT_URL", "HTTPS://TM.example:443/")),
            none
        );
        assert_eq!(
            against(&with("MULTI_TENANT_URL", "https://other")),
            ["differ-url"]
        );
        assert_eq!(
            against(&with("MULTI_TENANT_REDIS_HOST", "other")),
            ["differ-redis"]
        );
        assert_eq!(
            against(&with("MULTI_TENANT_REDIS_PORT", "6380")),
            ["differ-redis"]
        );
        assert_eq!(
            against(&with("MULTI_TENANT_REDIS_TLS", "false")),
            ["differ-redis"]
        );
        // Not set means TLS for the Tracer.
        assert_eq!(against(&with("MULTI_TENANT_REDIS_TLS", "")), none);
        assert_eq!(against(&with("ENV_NAME", "Production")), none);
        assert_eq!(
            against(&with("ENV_NAME", "staging")),
            ["differ-environment"]
        );
        assert_eq!(
            against(&with("ENVIRONMENT_NAME", "staging")),
            ["differ-environment"]
        );
        assert_eq!(
            against(&with("MULTI_TENANT_SERVICE_API_KEY", "hunter3")),
            ["differ-api-key"]
        );
        assert_eq!(
            against(&with("MULTI_TENANT_ENABLED", "false")),
            ["differ-tenancy"]
        );
    }

    #[test]
    fn addresses_and_service_names_are_compared() {
        let auth = [
            ("PLUGIN_AUTH_ENABLED", "true"),
            ("PLUGIN_AUTH_HOST", "http://a:4000"),
        ];
        let same = [
            ("PLUGIN_AUTH_ENABLED", "true"),
            ("PLUGIN_AUTH_ADDRESS", "http://a:4000/"),
        ];
        let other = [
            ("PLUGIN_AUTH_ENABLED", "true"),
            ("PLUGIN_AUTH_ADDRESS", "http://b:4000"),
        ];
        assert!(rules(&[(Product::Ledger, &auth), (Product::Crm, &same)]).is_empty());
        assert_eq!(
            rules(&[(Product::Ledger, &auth), (Product::Crm, &other)]),
            ["differ-auth"]
        );
        let name = [
            ("MULTI_TENANT_ENABLED", "true"),
            ("APPLICATION_NAME", "ledger"),
        ];
        assert_eq!(
            rules(&[(Product::Ledger, &name), (Product::Crm, &name)]),
            ["same-service"]
        );
        assert!(rules(&[(Product::Ledger, &name), (Product::Ledger, &name)]).is_empty());
    }
}
