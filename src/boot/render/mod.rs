//! A block of variables with which a product starts as BYOC multi-tenant.

mod quote;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalogue::{Kind, Need, StoreKind, catalogue};
use super::product::Product;
use super::rules::Finding;
use super::variables::Variables;
use super::{Assessment, Effect, Tenancy, Verdict};
use crate::secret::Secret;

/// What stands in the place of what is not known.
pub const PLACEHOLDER: &str = "CHANGE_ME";

/// How the block is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines of `NAME=value`.
    Dotenv,
    /// Values of the product's chart.
    Helm,
    /// A service of a compose file.
    Compose,
    /// A ConfigMap and a Secret.
    K8s,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Dotenv, Self::Helm, Self::Compose, Self::K8s];

    /// Returns the word that `--format` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Helm => "helm",
            Self::Compose => "compose",
            Self::K8s => "k8s",
        }
    }
}

/// What the block is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// URL of the Tenant Manager.
    pub server: String,
    /// `production` or `staging`.
    pub environment: String,
    /// Host of the event Redis.
    pub redis_host: Option<String>,
    /// Port of the event Redis.
    pub redis_port: u16,
    /// Whether the event Redis speaks TLS.
    pub redis_tls: bool,
    /// Whether the event Redis wants a password.
    pub redis_has_password: bool,
    /// Address of the Access Manager.
    pub auth_address: String,
    /// Whether http was accepted for the Tenant Manager.
    pub allow_insecure_http: bool,
    /// Whether stores without TLS are to be accepted.
    pub allow_insecure_tls: bool,
    /// Name of the service in the Tenant Manager; the usual one when absent.
    pub service: Option<String>,
    /// Secrets by the variable that holds them, only to be written out when they are here.
    pub secrets: Vec<(&'static str, Secret)>,
}

/// A variable of the block.
#[derive(Clone)]
struct Line {
    name: String,
    value: Written,
}

#[derive(Clone)]
enum Written {
    Text(String),
    /// A secret that is not written out.
    Hidden,
    Shown(Secret),
}

/// A block that the rules accept.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The product.
    pub product: Product,
    /// How it is written.
    pub format: Format,
    /// The block.
    pub text: String,
    /// Variables whose value is still to be filled in.
    pub placeholders: Vec<String>,
}

/// Why no block can be written that the product would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The product would refuse to start, or start insecurely.
    #[error("{product} would not start as it should with these settings")]
    Refused {
        /// The product.
        product: Product,
        /// What it would refuse.
        reasons: Vec<String>,
    },
    /// A value cannot be written in that form.
    #[error("the value of {name} cannot be written as {format}")]
    Unquotable {
        /// The variable.
        name: String,
        /// The format.
        format: &'static str,
    },
}

/// Writes the block of `product`.
pub fn render(product: Product, format: Format, settings: &Settings) -> Result<Block, RenderError> {
    let lines = lines(product, format, settings);
    accepted(product, format, &lines)?;
    for line in &lines {
        let text = match &line.value {
            Written::Text(text) => text,
            Written::Shown(secret) => secret.expose(),
            Written::Hidden => continue,
        };
        if text.contains(['\0', '\r', '\u{2028}', '\u{2029}']) {
            return Err(RenderError::Unquotable {
                name: line.name.clone(),
                format: format.as_str(),
            });
        }
    }
    let mut text = format!(
        "# {product} {}, BYOC multi-tenant, environment {}\n",
        product.version(),
        settings.environment.replace(['\n', '\r'], " ")
    );
    match format {
        Format::Dotenv => dotenv(&lines, &mut text),
        Format::Compose => compose(product, &lines, &mut text),
        Format::K8s => kubernetes(product, &lines, &mut text),
        Format::Helm => helm(product, &lines, &mut text),
    }
    let placeholder = |line: &&Line| match &line.value {
        Written::Hidden => true,
        Written::Text(text) => text == PLACEHOLDER,
        Written::Shown(_) => false,
    };
    Ok(Block {
        product,
        format,
        text,
        placeholders: lines
            .iter()
            .filter(placeholder)
            .map(|line| line.name.clone())
            .collect(),
    })
}

/// Asks the rules about the block before it is written.
fn accepted(product: Product, format: Format, lines: &[Line]) -> Result<(), RenderError> {
    let mut variables = Variables::default();
    for line in lines {
        match &line.value {
            Written::Text(text) => variables.set(&line.name, text, ""),
            Written::Hidden | Written::Shown(_) => {
                variables.set_elsewhere(&line.name, "a Secret", "");
            }
        }
    }
    let assessment = Assessment::of("", product, &variables);
    // The chart itself names the stores.
    let counts = |finding: &&Finding| {
        let chart = format == Format::Helm
            && matches!(
                finding.rule,
                "store-missing" | "balance-queue-missing" | "tls-required"
            );
        !chart
            && (finding.effect == Effect::Refuses
                || finding.effect == Effect::Insecure && finding.severity >= super::Severity::High
                || finding.rule == "environment-without-events")
    };
    let reasons: Vec<String> = assessment
        .findings
        .iter()
        .filter(counts)
        .map(|finding| format!("{}; {}", finding.message, finding.remedy))
        .collect();
    debug_assert!(assessment.tenancy == Tenancy::ByocMultiTenant);
    debug_assert!(
        assessment.verdict == Verdict::Boots || !reasons.is_empty() || format == Format::Helm
    );
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(RenderError::Refused { product, reasons })
    }
}

fn lines(product: Product, format: Format, settings: &Settings) -> Vec<Line> {
    let mut out = Vec::new();
    let reads = |name: &str| {
        catalogue()
            .cell(name, product)
            .is_some_and(|cell| cell.need != Need::Unread)
    };
    let mut text = |name: &str, value: &str| {
        out.push(Line {
            name: name.to_owned(),
            value: Written::Text(value.to_owned()),
        });
    };
    let redis = settings.redis_host.as_deref().unwrap_or(PLACEHOLDER);
    let port = settings.redis_port.to_string();
    let service = settings.service.as_deref().unwrap_or(product.service());
    let http = settings.server.starts_with("http://") && settings.allow_insecure_http;
    for (name, value) in [
        ("APPLICATION_NAME", service),
        ("ENV_NAME", &settings.environment),
        ("DEPLOYMENT_MODE", "byoc"),
        (
            "ALLOW_INSECURE_TLS",
            if settings.allow_insecure_tls {
                "true"
            } else {
                "false"
            },
        ),
        ("MULTI_TENANT_ENABLED", "true"),
        ("MULTI_TENANT_URL", &settings.server),
        ("MULTI_TENANT_REDIS_HOST", redis),
        ("MULTI_TENANT_REDIS_PORT", &port),
        (
            "MULTI_TENANT_REDIS_TLS",
            if settings.redis_tls { "true" } else { "false" },
        ),
        ("MULTI_TENANT_CACHE_TTL_SEC", "600"),
        ("MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD", "5"),
        ("MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC", "30"),
        ("MULTI_TENANT_MAX_TENANT_POOLS", "100"),
        ("MULTI_TENANT_IDLE_TIMEOUT_SEC", "300"),
        (
            "MULTI_TENANT_ALLOW_INSECURE_HTTP",
            if http { "true" } else { "false" },
        ),
        ("PLUGIN_AUTH_ENABLED", "true"),
        (product.auth_variable(), &settings.auth_address),
    ] {
        if reads(name) {
            text(name, value);
        }
    }
    let tls = !settings.allow_insecure_tls;
    for store in catalogue()
        .stores(product)
        .filter(|store| store.multi_tenant)
    {
        // The chart knows where its stores are; what it does not do by itself is TLS.
        if format != Format::Helm || store.chart.is_empty() {
            text(&store.host, PLACEHOLDER);
        }
        match store.kind {
            StoreKind::Postgresql => text(&store.tls, if tls { "require" } else { "disable" }),
            StoreKind::Redis => text(&store.tls, if tls { "true" } else { "false" }),
            StoreKind::Mongodb if tls => {
                text(&store.tls.replace("_URI", "_PARAMETERS"), "tls=true");
            }
            StoreKind::Rabbitmq if tls => text(&store.tls, "amqps"),
            StoreKind::Mongodb | StoreKind::Rabbitmq => {}
        }
    }
    if matches!(product, Product::Ledger | Product::Ledger4) && format != Format::Helm {
        text(
            "RABBITMQ_TRANSACTION_BALANCE_OPERATION_QUEUE",
            "transaction.transaction_balance_operation.queue",
        );
    }
    for name in [
        "MULTI_TENANT_SERVICE_API_KEY",
        "MULTI_TENANT_REDIS_PASSWORD",
        "AUTH_JWT_SECRET",
    ] {
        let wanted = name != "MULTI_TENANT_REDIS_PASSWORD" || settings.redis_has_password;
        if !reads(name) || !wanted {
            continue;
        }
        let known = settings.secrets.iter().find(|(known, _)| *known == name);
        out.push(Line {
            name: name.to_owned(),
            value: known.map_or(Written::Hidden, |(_, secret)| {
                Written::Shown(secret.clone())
            }),
        });
    }
    out
}

impl Line {
    fn is_secret(&self) -> bool {
        !matches!(self.value, Written::Text(_))
    }

    fn text(&self) -> &str {
        match &self.value {
            Written::Text(text) => text,
            Written::Hidden => PLACEHOLDER,
            Written::Shown(secret) => secret.expose(),
        }
    }
}

fn dotenv(lines: &[Line], out: &mut String) {
    for line in lines {
        let _ = writeln!(out, "{}={}", line.name, quote::dotenv(line.text()));
    }
}

fn compose(product: Product, lines: &[Line], out: &mut String) {
    let _ = writeln!(out, "services:\n  {product}:\n    environment:");
    for line in lines {
        let value = match &line.value {
            Written::Hidden => format!("\"${{{}:?set it in the shell or in .env}}\"", line.name),
            _ => quote::compose(line.text()),
        };
        let _ = writeln!(out, "      {}: {value}", line.name);
    }
}

fn kubernetes(product: Product, lines: &[Line], out: &mut String) {
    for (kind, data, secret) in [("ConfigMap", "data", false), ("Secret", "stringData", true)] {
        let some: Vec<&Line> = lines
            .iter()
            .filter(|line| line.is_secret() == secret)
            .collect();
        if some.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "{}apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {product}-multi-tenant\n{data}:",
            if secret { "---\n" } else { "" }
        );
        for line in some {
            let _ = writeln!(out, "  {}: {}", line.name, quote::yaml(line.text()));
        }
    }
    let _ = writeln!(
        out,
        "# In the container: envFrom with configMapRef and secretRef of {product}-multi-tenant"
    );
}

/// Where in a chart's values a variable goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Configmap,
    Secrets,
    Extra,
    /// A Secret of one's own: the chart has no place for it.
    Existing,
}

fn place(product: Product, line: &Line) -> Place {
    let written = catalogue()
        .cell(&line.name, product)
        .is_none_or(|cell| cell.chart.is_some());
    let fetcher = matches!(product, Product::FetcherManager | Product::FetcherWorker);
    match (line.is_secret(), written) {
        (true, true) => Place::Secrets,
        (true, false) if fetcher => Place::Secrets,
        (true, false) => Place::Existing,
        (false, true) => Place::Configmap,
        // Fetcher copies its shared map as it is.
        (false, false) if fetcher && line.name.starts_with("MULTI_TENANT_") => Place::Configmap,
        (false, false) => Place::Extra,
    }
}

fn helm(product: Product, lines: &[Line], out: &mut String) {
    let fetcher = matches!(product, Product::FetcherManager | Product::FetcherWorker);
    let key = match product {
        Product::Ledger | Product::Ledger4 => "ledger",
        Product::FetcherManager | Product::Reporter => "manager",
        Product::FetcherWorker => "worker",
        other => other.as_str(),
    };
    let group = |wanted: Place| {
        lines
            .iter()
            .filter(move |line| place(product, line) == wanted)
    };
    let shared = |line: &&Line| fetcher && line.name.starts_with("MULTI_TENANT_");
    let map = |out: &mut String, indent: &str, lines: Vec<&Line>| {
        for line in lines {
            let _ = writeln!(out, "{indent}{}: {}", line.name, quote::yaml(line.text()));
        }
    };
    if fetcher {
        out.push_str("common:\n  configmap:\n");
        map(
            out,
            "    ",
            group(Place::Configmap).filter(shared).collect(),
        );
        let secrets: Vec<&Line> = group(Place::Secrets).collect();
        if !secrets.is_empty() {
            out.push_str("secrets:\n");
            map(out, "  ", secrets);
        }
    }
    let _ = writeln!(out, "{key}:");
    let own: Vec<&Line> = group(Place::Configmap)
        .filter(|line| !shared(line))
        .collect();
    if !own.is_empty() {
        out.push_str("  configmap:\n");
        map(out, "    ", own);
    }
    let secrets: Vec<&Line> = group(Place::Secrets).collect();
    if !fetcher && !secrets.is_empty() {
        out.push_str("  secrets:\n");
        map(out, "    ", secrets);
    }
    let extra: Vec<&Line> = group(Place::Extra).collect();
    if !extra.is_empty() {
        out.push_str("  extraEnvVars:\n");
        // One chart ranges over a list, the others copy a map.
        if product == Product::Tracer {
            for line in extra {
                let value = quote::yaml(line.text());
                let _ = writeln!(out, "    - name: {}\n      value: {value}", line.name);
            }
        } else {
            map(out, "    ", extra);
        }
    }
    let existing: Vec<&str> = group(Place::Existing)
        .map(|line| line.name.as_str())
        .collect();
    if !existing.is_empty() {
        let _ = writeln!(
            out,
            "  # The chart has no place for {}: they must be in this Secret, beside those that the chart expects\n  useExistingSecret: true\n  existingSecretName: {product}-multi-tenant",
            existing.join(", ")
        );
    }
    let missing = catalogue().names(product).any(|name| {
        catalogue().kind(name, product) == Some(Kind::Secret) && !name.starts_with("MULTI_TENANT_")
    });
    if missing && existing.is_empty() {
        out.push_str("# Passwords of static stores stay where they are\n");
    }
}

#[cfg(test)]
mod tests;
