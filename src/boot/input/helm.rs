//! Values of Lerian's charts: what the chart writes by itself, and what the values change.

use super::yaml::{Node, documents};
use super::{Found, InputError};
use crate::boot::catalogue::{Kind, catalogue};
use crate::boot::product::Product;
use crate::boot::variables::{Oddity, Variables, parse_bool};

/// Keys of components, and the product of each where the key alone says so.
const COMPONENTS: &[(&str, Option<Product>)] = &[
    ("ledger", Some(Product::Ledger)),
    ("crm", Some(Product::Crm)),
    ("tracer", Some(Product::Tracer)),
    ("matcher", Some(Product::Matcher)),
    ("fees", Some(Product::Fees)),
    ("manager", None),
    ("worker", None),
];

/// Reads the environments that a chart would write with these values.
///
/// `wanted` is the product to look for when the values do not show it.
pub fn helm(text: &str, wanted: Option<Product>) -> Result<Vec<Found>, InputError> {
    let documents = documents(text)?;
    let empty = Node::Map(Vec::new());
    let root = match documents.as_slice() {
        [] | [Node::Null] => &empty,
        [root] if root.is_map() => root,
        _ => return Err(InputError::new("is not one map of values")),
    };
    let mut out = Vec::new();
    for (key, product) in COMPONENTS {
        let Some(component) = root.get(key).filter(|node| node.is_map()) else {
            continue;
        };
        let disabled = component.text_at(&["enabled"]) == Some("false");
        let fits = [
            "configmap",
            "secrets",
            "extraEnvVars",
            "image",
            "multiTenant",
            "enabled",
        ];
        if disabled || !fits.iter().any(|key| component.get(key).is_some()) {
            continue;
        }
        let product = product.or_else(|| shared_key(key, component, root, wanted));
        if let Some(product) = product {
            out.push(found(
                key,
                version(product, component, wanted),
                component,
                root,
            ));
        }
    }
    if let Some(wanted) = wanted
        && !out.iter().any(|found| found.product == Some(wanted))
        && out.is_empty()
    {
        out.push(found(key_of(wanted), wanted, &empty, root));
    }
    Ok(out)
}

/// Fetcher and Reporter both call their components `manager` and `worker`.
fn shared_key(
    key: &str,
    component: &Node,
    root: &Node,
    wanted: Option<Product>,
) -> Option<Product> {
    let says = |word: &str| {
        [
            component.text_at(&["image", "repository"]),
            component.text_at(&["name"]),
        ]
        .into_iter()
        .chain([
            root.text_at(&["namespaceOverride"]),
            root.text_at(&["fullnameOverride"]),
        ])
        .flatten()
        .any(|text| text.contains(word))
    };
    let reporter = says("reporter") || wanted == Some(Product::Reporter);
    let fetcher = says("fetcher")
        || matches!(
            wanted,
            Some(Product::FetcherManager | Product::FetcherWorker)
        );
    match (reporter && !says("fetcher"), fetcher, key) {
        (true, _, _) => Some(Product::Reporter),
        (_, true, "worker") => Some(Product::FetcherWorker),
        (_, true, _) => Some(Product::FetcherManager),
        _ => None,
    }
}

fn key_of(product: Product) -> &'static str {
    match product {
        Product::Ledger | Product::Ledger4 => "ledger",
        Product::Crm => "crm",
        Product::Tracer => "tracer",
        Product::FetcherManager | Product::Reporter => "manager",
        Product::FetcherWorker => "worker",
        Product::Matcher => "matcher",
        Product::Fees => "fees",
    }
}

fn version(product: Product, component: &Node, wanted: Option<Product>) -> Product {
    let tag = component.text_at(&["image", "tag"]).unwrap_or_default();
    let four = tag.trim_start_matches('v').starts_with("4.");
    let wanted = wanted == Some(Product::Ledger4);
    if product == Product::Ledger && (four || wanted) {
        Product::Ledger4
    } else {
        product
    }
}

fn found(key: &str, product: Product, component: &Node, root: &Node) -> Found {
    let mut variables = Variables::of_chart();
    let chart = Chart { product };
    let enabled = enabled(key, component, root, &mut variables);
    chart.defaults(enabled, &mut variables);
    chart.globals(root, enabled, &mut variables);
    let shared = [
        ("common.configmap", root.at(&["common", "configmap"])),
        ("secrets", root.get("secrets")),
    ];
    for (place, node) in shared {
        chart.given(place, node, enabled, &mut variables);
    }
    for group in ["configmap", "secrets"] {
        let place = format!("{key}.{group}");
        chart.given(&place, component.get(group), enabled, &mut variables);
    }
    let existing = ["useExistingSecret", "existingSecret"]
        .into_iter()
        .filter_map(|name| component.get(name))
        .any(|node| {
            node.is_map()
                || node
                    .text()
                    .is_some_and(|text| !matches!(text, "" | "false"))
        });
    if existing {
        let name = component
            .text_at(&["existingSecretName"])
            .unwrap_or("that exists already");
        chart.elsewhere(&format!("the Secret {name}"), false, &mut variables);
    }
    // Passwords of bundled stores come from the subcharts' own Secrets.
    chart.elsewhere("a Secret of the chart", true, &mut variables);
    extra(key, component, &mut variables);
    Found {
        component: key.to_owned(),
        names: Vec::new(),
        variables,
        product: Some(product),
    }
}

/// The charts compare with the text `true`, and write what came out.
fn enabled(key: &str, component: &Node, root: &Node, variables: &mut Variables) -> bool {
    const NAME: &str = "MULTI_TENANT_ENABLED";
    let place = format!("{key}.configmap");
    let said = component
        .text_at(&["configmap", NAME])
        .or_else(|| root.text_at(&["common", "configmap", NAME]));
    let knob = component.text_at(&["multiTenant", "enabled"]) == Some("true");
    match said {
        _ if knob => variables.set(NAME, "true", &format!("{key}.multiTenant.enabled")),
        // Any other word for yes becomes `false` in the template.
        Some(text) if text != "true" && parse_bool(text) == Some(true) => {
            variables.set(NAME, "false", &place);
            variables.oddities.push(Oddity::NotWritten {
                name: format!("{NAME}={text}"),
                place,
            });
        }
        Some(text) => variables.set(NAME, text, &place),
        None => {}
    }
    variables.flag(NAME, false)
}

struct Chart {
    product: Product,
}

impl Chart {
    /// Returns true for a variable that is written in multi-tenant mode only.
    fn gated(name: &str) -> bool {
        name.starts_with("MULTI_TENANT_") && name != "MULTI_TENANT_ENABLED"
    }

    fn defaults(&self, enabled: bool, variables: &mut Variables) {
        for variable in &catalogue().variables {
            let default = variable
                .cell(self.product)
                .and_then(|cell| cell.chart.as_deref());
            if let Some(default) = default
                && default != "required"
                && (enabled || !Self::gated(&variable.name))
                && variables.get(&variable.name).is_none()
            {
                variables.set(&variable.name, default, "default of the chart");
            }
        }
        for store in catalogue().stores(self.product) {
            for (name, value) in &store.chart {
                variables.set(name, value, "default of the chart");
            }
        }
    }

    fn globals(&self, root: &Node, enabled: bool, variables: &mut Variables) {
        let mut set = |path: &[&str], name: &str| {
            if let Some(text) = root.text_at(path).filter(|text| !text.is_empty()) {
                variables.set(name, text, &path.join("."));
            }
        };
        set(&["global", "auth", "enabled"], "PLUGIN_AUTH_ENABLED");
        set(&["global", "auth", "host"], self.product.auth_variable());
        if !enabled {
            return;
        }
        for (key, name) in [
            ("url", "MULTI_TENANT_URL"),
            ("redisHost", "MULTI_TENANT_REDIS_HOST"),
            ("redisPort", "MULTI_TENANT_REDIS_PORT"),
            ("redisTls", "MULTI_TENANT_REDIS_TLS"),
            ("redisCaCert", "MULTI_TENANT_REDIS_CA_CERT"),
        ] {
            // A chart that does not write the variable does not look at the global value either.
            if self.writes(name) {
                set(&["global", "multiTenant", key], name);
            }
        }
    }

    fn writes(&self, name: &str) -> bool {
        match catalogue().find(name) {
            Some(variable) => variable
                .cell(self.product)
                .is_some_and(|cell| cell.chart.is_some()),
            // What is not in the catalogue is not known, and is believed.
            None => true,
        }
    }

    fn given(&self, place: &str, node: Option<&Node>, enabled: bool, variables: &mut Variables) {
        for (name, value) in node.map(Node::pairs).unwrap_or_default() {
            let Some(text) = value.text() else { continue };
            if name == "MULTI_TENANT_ENABLED" || text.is_empty() {
                continue;
            }
            if !self.writes(name) && !self.passes_through(place) {
                variables.oddities.push(Oddity::NotWritten {
                    name: name.to_owned(),
                    place: place.to_owned(),
                });
            } else if enabled || !Self::gated(name) || catalogue().is_secret(name) {
                variables.set(name, text, place);
            }
        }
    }

    /// Fetcher's shared map is copied key by key.
    fn passes_through(&self, place: &str) -> bool {
        let fetcher = matches!(
            self.product,
            Product::FetcherManager | Product::FetcherWorker
        );
        fetcher && place == "common.configmap"
    }

    fn elsewhere(&self, source: &str, stores_only: bool, variables: &mut Variables) {
        let names: Vec<String> = catalogue()
            .names(self.product)
            .filter(|name| catalogue().kind(name, self.product) == Some(Kind::Secret))
            .filter(|name| !stores_only || catalogue().find(name).is_none())
            .map(str::to_owned)
            .collect();
        for name in names {
            if !variables.given(&name) {
                variables.set_elsewhere(&name, source, "");
            }
        }
    }
}

/// `extraEnvVars` is a map in some charts and a list in others.
fn extra(key: &str, component: &Node, variables: &mut Variables) {
    let place = format!("{key}.extraEnvVars");
    match component.get("extraEnvVars") {
        Some(Node::List(list)) => {
            for entry in list {
                let Some(name) = entry.text_at(&["name"]) else {
                    continue;
                };
                match entry.get("value").and_then(Node::text) {
                    Some(value) => variables.set(name, value, &place),
                    None => variables.set_elsewhere(name, "what `valueFrom` names", &place),
                }
            }
        }
        Some(node) => {
            for (name, value) in node.pairs() {
                if let Some(value) = value.text() {
                    variables.set(name, value, &place);
                }
            }
        }
        None => {}
    }
}
