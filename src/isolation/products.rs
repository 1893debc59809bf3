//! Checks of the products' own environments, next to what tenants are handed: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_lc_rs::hmac;

use super::catalogue::known;
use super::inventory::{Inventory, Store};
use super::model::{EVERYONE, Finding};
use crate::boot::budget::{Budget, Deployment};
use crate::boot::catalogue::{StoreKind, catalogue};
use crate::boot::compare::{Side, compare};
use crate::boot::variables::Value;
use crate::boot::{Assessment, Product, Variables};
use crate::provision::limits::statement_timeout_ms;
use crate::secret::random_bytes;

/// Where findings about products are placed.
pub const STORE: &str = "products";

/// The checks that need products' environments.
pub const IDS: [&str; 7] = [
    "CF-08", "CF-10", "CF-11", "CF-12", "CF-14", "CF-18", "CF-09",
];

/// Seconds by which a product spreads its questions.
const JITTER: u64 = 5;
/// Seconds by which two machines' clocks may differ.
const CLOCK_SKEW: u64 = 5;
/// Connections that an administrator keeps for work by hand.
const HEAD_ROOM: i64 = 10;
/// Fewest different characters of a key that nobody guesses.
const FEWEST_CHARACTERS: usize = 8;
/// Shortest key that nobody guesses.
const SHORTEST_KEY: usize = 16;

/// A product's environment.
#[derive(Debug, Clone)]
pub struct ProductEnvironment {
    /// Where it comes from, for a person.
    pub source: String,
    /// The product.
    pub product: Product,
    /// Its variables.
    pub variables: Variables,
    /// Replicas that run with it.
    pub replicas: u32,
}

impl ProductEnvironment {
    fn name(&self) -> String {
        format!("{} ({})", self.product, self.source)
    }

    fn multi_tenant(&self) -> bool {
        self.variables.flag("MULTI_TENANT_ENABLED", false)
    }

    fn service(&self) -> &str {
        let named = self.variables.text("APPLICATION_NAME");
        named.unwrap_or(self.product.service())
    }

    /// Returns the stores of this product's tenants; a store without a service may be anybody's.
    fn stores<'a>(&'a self, inventory: &'a Inventory) -> impl Iterator<Item = &'a Store> {
        let services = [self.service(), self.product.service()];
        inventory.stores.iter().filter(move |store| {
            store.status == "active"
                && (store.service.is_empty() || services.contains(&store.service.as_str()))
        })
    }

    fn side(&self) -> Side<'_> {
        Side {
            source: &self.source,
            product: self.product,
            variables: &self.variables,
        }
    }
}

fn everyone(id: &str, object: impl Into<String>, evidence: String) -> Finding {
    let mut finding = Finding::new(known(id), STORE, object);
    finding.from = vec![EVERYONE.to_owned()];
    finding.to = vec![EVERYONE.to_owned()];
    finding.evidence = evidence;
    finding
}

fn severe(mut finding: Finding, word: &str) -> Finding {
    if let Ok(severity) = word.parse() {
        finding.severity = severity;
    }
    finding
}

/// Returns the findings of every check that compares environments.
pub fn check(
    inventory: &Inventory,
    products: &[ProductEnvironment],
    grace: Duration,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    tenancy(inventory, products, &mut findings);
    environments(inventory, products, &mut findings);
    events(inventory, products, &mut findings);
    keys(products, &mut findings);
    rotation(inventory, products, grace, &mut findings);
    caps(inventory, products, &mut findings);
    variables(products, &mut findings);
    findings
}

fn tenancy(inventory: &Inventory, products: &[ProductEnvironment], findings: &mut Vec<Finding>) {
    const OPEN: [&str; 4] = [
        "auth-required",
        "auth-required-production",
        "auth-address-empty",
        "auth-variable-swapped",
    ];
    for product in products.iter().filter(|product| product.multi_tenant()) {
        let assessed = Assessment::of(&product.source, product.product, &product.variables);
        for found in assessed.findings.iter().filter(|f| OPEN.contains(&f.rule)) {
            let mut finding = everyone("CF-08", product.name(), found.message.clone());
            finding.remedy = vec![format!("# {}", found.remedy)];
            findings.push(finding);
        }
    }
    let on: Vec<&ProductEnvironment> = products.iter().filter(|p| p.multi_tenant()).collect();
    for off in products.iter().filter(|product| !product.multi_tenant()) {
        let hosts = hosts(off);
        let tenants: BTreeSet<&str> = off
            .stores(inventory)
            .filter(|store| !store.service.is_empty())
            .map(|store| store.tenant.as_str())
            .collect();
        let shares = inventory
            .stores
            .iter()
            .any(|store| hosts.contains(&store.host.to_lowercase()));
        let mut finding = if !tenants.is_empty() {
            let evidence = format!(
                "multi-tenant mode is off, and {} tenants have the service `{}`: all of them meet in its one store",
                tenants.len(),
                off.service()
            );
            let mut finding = everyone("CF-08", off.name(), evidence);
            finding.from = tenants.iter().map(ToString::to_string).collect();
            finding.to.clone_from(&finding.from);
            finding
        } else if on.is_empty() {
            continue;
        } else if shares {
            let evidence = format!(
                "multi-tenant mode is off, and its store is on a server that holds tenants' stores; it is on in {}",
                on[0].name()
            );
            everyone("CF-08", off.name(), evidence)
        } else {
            let evidence = format!("multi-tenant mode is off here, and on in {}", on[0].name());
            severe(everyone("CF-08", off.name(), evidence), "medium")
        };
        finding.remedy = vec!["MULTI_TENANT_ENABLED=true".into()];
        findings.push(finding);
    }
}

/// Returns the hosts of a product's own PostgreSQL stores.
fn hosts(product: &ProductEnvironment) -> BTreeSet<String> {
    catalogue()
        .stores(product.product)
        .filter(|store| store.kind == StoreKind::Postgresql)
        .filter_map(|store| product.variables.text(&store.host))
        .map(|host| host.split(':').next().unwrap_or(host).to_lowercase())
        .collect()
}

fn environments(
    inventory: &Inventory,
    products: &[ProductEnvironment],
    findings: &mut Vec<Finding>,
) {
    let registered: BTreeSet<String> = inventory
        .stores
        .iter()
        .filter(|store| store.status != "purged" && !store.environment.is_empty())
        .map(|store| store.environment.to_lowercase())
        .collect();
    for product in products.iter().filter(|product| product.multi_tenant()) {
        let said = product.variables.channel_environment();
        let wrong = match said.as_deref() {
            None => {
                Some("it has no ENV_NAME: it listens on the channel of no environment".to_owned())
            }
            Some(said) if !registered.is_empty() && !registered.contains(said) => Some(format!(
                "it says `{}`, and the tenants are of {}",
                crate::boot::variables::shown(said),
                registered.iter().cloned().collect::<Vec<_>>().join(" and ")
            )),
            Some(said) if registered.is_empty() && !matches!(said, "staging" | "production") => {
                let said = crate::boot::variables::shown(said);
                Some(format!(
                    "it says `{said}`, which is neither staging nor production"
                ))
            }
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            let mut finding = everyone("CF-09", format!("ENV_NAME of {}", product.name()), wrong);
            finding.remedy = registered
                .iter()
                .take(1)
                .map(|name| format!("ENV_NAME={name}"))
                .collect();
            findings.push(finding);
        }
    }
    of_rule(
        products,
        "differ-environment",
        "CF-09",
        "ENV_NAME",
        findings,
    );
}

/// Turns a difference that `env check` finds into a finding.
fn of_rule(
    products: &[ProductEnvironment],
    rule: &str,
    id: &str,
    object: &str,
    findings: &mut Vec<Finding>,
) {
    let on: Vec<Side<'_>> = products
        .iter()
        .filter(|product| product.multi_tenant())
        .map(ProductEnvironment::side)
        .collect();
    for difference in compare(&on).iter().filter(|it| it.finding.rule == rule) {
        let mut finding = everyone(id, object, difference.finding.message.clone());
        finding.remedy = vec![format!("# {}", difference.finding.remedy)];
        findings.push(finding);
    }
}

/// Where a product listens for events.
fn redis_of(product: &ProductEnvironment) -> Option<String> {
    if matches!(product.product, Product::Matcher | Product::Reporter) {
        return None;
    }
    let host = product.variables.text("MULTI_TENANT_REDIS_HOST")?;
    let port = product.variables.text("MULTI_TENANT_REDIS_PORT");
    Some(folded(&format!("{host}:{}", port.unwrap_or("6379"))))
}

fn folded(address: &str) -> String {
    let lower = address.to_lowercase();
    match lower.rsplit_once(':') {
        Some(("127.0.0.1" | "[::1]" | "::1", port)) => format!("localhost:{port}"),
        _ => lower,
    }
}

fn events(inventory: &Inventory, products: &[ProductEnvironment], findings: &mut Vec<Finding>) {
    of_rule(
        products,
        "differ-redis",
        "CF-10",
        "Redis of events",
        findings,
    );
    let mut channels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for product in products.iter().filter(|product| product.multi_tenant()) {
        let Some(redis) = redis_of(product) else {
            continue;
        };
        if let Some(environment) = product.variables.channel_environment() {
            channels
                .entry(redis.clone())
                .or_default()
                .insert(environment);
        }
        let Some(tells) = inventory.event_redis.as_deref().map(folded) else {
            continue;
        };
        if tells != redis {
            let evidence = format!(
                "it listens at {redis}, and the Tenant Manager tells its events at {tells}"
            );
            let mut finding = everyone("CF-10", format!("Redis of {}", product.name()), evidence);
            if let Some((host, port)) = tells.rsplit_once(':') {
                finding.remedy = vec![
                    format!("MULTI_TENANT_REDIS_HOST={host}"),
                    format!("MULTI_TENANT_REDIS_PORT={port}"),
                ];
            }
            findings.push(finding);
        }
    }
    for (redis, environments) in channels {
        if environments.len() > 1 {
            let words: Vec<String> = environments.into_iter().collect();
            let evidence = format!("{} tell their events there", words.join(" and "));
            findings.push(everyone("CF-10", format!("Redis {redis}"), evidence));
        }
    }
}

/// Compares fingerprints under a key that is thrown away.
fn keys(products: &[ProductEnvironment], findings: &mut Vec<Finding>) {
    const NAME: &str = "MULTI_TENANT_SERVICE_API_KEY";
    let mac = hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>());
    let mut prints: BTreeMap<Vec<u8>, Vec<&ProductEnvironment>> = BTreeMap::new();
    for product in products.iter().filter(|product| product.multi_tenant()) {
        let Some(Value::Known(key)) = product.variables.get(NAME).map(|entry| &entry.value) else {
            continue;
        };
        let text = key.expose().trim();
        if text.is_empty() {
            continue;
        }
        let distinct: BTreeSet<char> = text.chars().collect();
        if text.len() < SHORTEST_KEY || distinct.len() < FEWEST_CHARACTERS {
            let evidence = format!(
                "it has {} characters, {} of them different: it can be guessed",
                text.chars().count(),
                distinct.len()
            );
            findings.push(everyone(
                "CF-11",
                format!("API key of {}", product.name()),
                evidence,
            ));
        }
        let print = hmac::sign(&mac, text.as_bytes()).as_ref().to_vec();
        prints.entry(print).or_default().push(product);
    }
    for holders in prints.into_values() {
        let services: BTreeSet<&str> = holders.iter().map(|p| p.product.service()).collect();
        let environments: BTreeSet<String> = holders
            .iter()
            .filter_map(|product| product.variables.channel_environment())
            .collect();
        let names: Vec<String> = holders.iter().map(|product| product.name()).collect();
        let names = names.join(", ");
        if environments.len() > 1 {
            let words: Vec<String> = environments.into_iter().collect();
            let evidence = format!("one key in {}: {names}", words.join(" and "));
            findings.push(everyone(
                "CF-11",
                "API key of several environments",
                evidence,
            ));
        } else if services.len() > 1 {
            let evidence = format!(
                "one key for {} services, so that whoever has it reads the passwords of all: {names}",
                services.len()
            );
            let finding = everyone("CF-11", "API key of several services", evidence);
            findings.push(severe(finding, "medium"));
        }
    }
}

/// Seconds for which a product may go on with what it was handed; `None` for ever.
fn remembers(product: &ProductEnvironment) -> Option<u64> {
    let said = u64::try_from(product.variables.number("MULTI_TENANT_CACHE_TTL_SEC")).unwrap_or(0);
    match product.product {
        Product::Ledger | Product::Ledger4 | Product::Crm => (said > 0).then_some(said),
        Product::FetcherManager | Product::FetcherWorker if said > 0 => Some(said),
        // Read by neither, and the library's own: an hour.
        Product::FetcherManager | Product::FetcherWorker | Product::Reporter => Some(3600),
        Product::Tracer | Product::Matcher | Product::Fees => {
            Some(if said > 0 { said } else { 120 })
        }
    }
}

fn asks_again(product: &ProductEnvironment) -> u64 {
    let said = product
        .variables
        .number("MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC");
    match product.product {
        Product::FetcherManager | Product::FetcherWorker | Product::Reporter => 30,
        _ => u64::try_from(said)
            .ok()
            .filter(|said| *said > 0)
            .unwrap_or(30),
    }
}

fn rotation(
    inventory: &Inventory,
    products: &[ProductEnvironment],
    grace: Duration,
    findings: &mut Vec<Finding>,
) {
    let grace = grace.as_secs();
    for product in products.iter().filter(|product| product.multi_tenant()) {
        let longest = product
            .stores(inventory)
            .filter_map(|store| statement_timeout_ms(&store.statement_timeout))
            .filter_map(|ms| u64::try_from(ms).ok())
            .max()
            .unwrap_or(0)
            .div_ceil(1000);
        let again = asks_again(product) + JITTER;
        let (enough, sum) = match remembers(product) {
            None => (
                false,
                "MULTI_TENANT_CACHE_TTL_SEC is not set, so that it never forgets: no grace is long enough".to_owned(),
            ),
            Some(ttl) => {
                let need = ttl.max(again) + JITTER + CLOCK_SKEW + longest;
                (
                    grace >= need,
                    format!(
                        "max(cache {ttl}, questions {again}) + spread {JITTER} + clocks {CLOCK_SKEW} + statements {longest} = {need} s"
                    ),
                )
            }
        };
        if !enough {
            let evidence = format!("a retired login stays valid for {grace} s; needed: {sum}");
            let mut finding = everyone("CF-12", product.name(), evidence);
            finding.from.clear();
            finding.to = tenants(product.stores(inventory));
            finding.remedy = match remembers(product) {
                None => vec!["MULTI_TENANT_CACHE_TTL_SEC=600".into()],
                Some(ttl) => vec![format!(
                    "lerianctl server start --rotation-grace {}s",
                    ttl.max(again) + JITTER + CLOCK_SKEW + longest
                )],
            };
            findings.push(finding);
        }
    }
}

fn tenants<'a>(stores: impl Iterator<Item = &'a Store>) -> Vec<String> {
    let names: BTreeSet<&String> = stores.map(|store| &store.tenant).collect();
    names.into_iter().cloned().collect()
}

fn count(tenants: &[String]) -> u32 {
    u32::try_from(tenants.len()).unwrap_or(u32::MAX)
}

fn caps(inventory: &Inventory, products: &[ProductEnvironment], findings: &mut Vec<Finding>) {
    for product in products.iter().filter(|product| product.multi_tenant()) {
        let of_product = tenants(product.stores(inventory));
        let deployment = Deployment {
            tenants: count(&of_product),
            replicas: product.replicas,
            max_connections: u32::MAX,
        };
        let budget = Budget::of(product.product, &product.variables, deployment);
        if budget.limited && budget.hot_tenants < i64::from(deployment.tenants) {
            let evidence = format!(
                "it keeps {} tenants open, and {} are active: the others wait for a place, and get 503",
                budget.hot_tenants, deployment.tenants
            );
            let mut finding = everyone("CF-14", product.name(), evidence);
            finding.from.clone_from(&of_product);
            finding.to = of_product;
            finding.remedy = vec![format!(
                "MULTI_TENANT_MAX_TENANT_POOLS={}",
                deployment.tenants
            )];
            findings.push(finding);
        }
    }
}

fn variables(products: &[ProductEnvironment], findings: &mut Vec<Finding>) {
    for product in products {
        let assessed = Assessment::of(&product.source, product.product, &product.variables);
        for found in &assessed.findings {
            let severity = match found.rule {
                "variable-misspelled" => "medium",
                "variable-unknown" => "info",
                _ => continue,
            };
            let name = found.variable.as_deref().unwrap_or_default();
            let object = format!("{name} of {}", product.name());
            let mut finding = severe(everyone("CF-18", object, found.message.clone()), severity);
            finding.from.clear();
            finding.to.clear();
            finding.remedy = vec![format!("# {}", found.remedy)];
            findings.push(finding);
        }
    }
}

/// Connections of a cluster, as it says itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// `max_connections`.
    pub most: i64,
    /// Those that only superusers get.
    pub reserved: i64,
}

/// Returns a finding when the products together may open more connections than a cluster has.
pub fn budget(
    cluster: &str,
    room: Room,
    inventory: &Inventory,
    products: &[ProductEnvironment],
) -> Option<Finding> {
    let allowed = room.most - room.reserved - HEAD_ROOM;
    let mut sum: i64 = 0;
    let mut parts = Vec::new();
    let mut all = BTreeSet::new();
    for product in products.iter().filter(|product| product.multi_tenant()) {
        let here = tenants(product.stores(inventory).filter(|s| s.cluster() == cluster));
        if here.is_empty() {
            continue;
        }
        let deployment = Deployment {
            tenants: count(&here),
            replicas: product.replicas,
            max_connections: u32::MAX,
        };
        let budget = Budget::of(product.product, &product.variables, deployment);
        if budget.server == "postgresql" {
            sum = sum.saturating_add(budget.connections);
            parts.push(format!("{}: {}", product.name(), budget.formula));
            all.extend(here);
        }
    }
    (sum > allowed).then(|| {
        let mut finding = Finding::new(known("CF-13"), cluster, "connections of the products");
        finding.from = all.into_iter().collect();
        finding.to.clone_from(&finding.from);
        finding.evidence = format!(
            "up to {sum}, and there are {} - {} reserved - {HEAD_ROOM} for administrators = {allowed}: {}",
            room.most,
            room.reserved,
            parts.join("; ")
        );
        finding.remedy = vec![format!(
            "ALTER SYSTEM SET max_connections = {};",
            sum.saturating_add(room.reserved + HEAD_ROOM)
        )];
        severe(finding, "high")
    })
}

#[cfg(test)]
mod tests;
