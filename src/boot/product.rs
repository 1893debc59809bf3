//! The products, their names, and how one is told from its environment.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::variables::Variables;

/// A product, in the version whose rules are applied.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Product {
    /// Midaz ledger 3.8.
    Ledger,
    /// Midaz ledger 4.0, with CRM and fees inside.
    #[serde(rename = "ledger-4")]
    Ledger4,
    /// Midaz CRM 3.8.
    Crm,
    /// Tracer.
    Tracer,
    /// Fetcher's manager.
    FetcherManager,
    /// Fetcher's worker.
    FetcherWorker,
    /// Matcher.
    Matcher,
    /// Reporter, development version.
    Reporter,
    /// Fees plugin, known from its chart only.
    Fees,
}

use Product::{
    Crm, Fees, FetcherManager, FetcherWorker, Ledger, Ledger4, Matcher, Reporter, Tracer,
};

impl Product {
    /// Every product.
    pub const ALL: [Self; 9] = [
        Ledger,
        Ledger4,
        Crm,
        Tracer,
        FetcherManager,
        FetcherWorker,
        Matcher,
        Reporter,
        Fees,
    ];

    /// Returns the name that `--product` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Ledger => "ledger",
            Ledger4 => "ledger-4",
            Crm => "crm",
            Tracer => "tracer",
            FetcherManager => "fetcher-manager",
            FetcherWorker => "fetcher-worker",
            Matcher => "matcher",
            Reporter => "reporter",
            Fees => "fees",
        }
    }

    /// Returns the product called `name`, other spellings included.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|product| product.as_str() == name)
            .or(match name.as_str() {
                "ledger-3" | "ledger-3.8" | "midaz" | "midaz-ledger" => Some(Ledger),
                "ledger-4.0" => Some(Ledger4),
                "midaz-crm" | "plugin-crm" => Some(Crm),
                "fetcher" => Some(FetcherManager),
                "reporter-manager" | "reporter-worker" => Some(Reporter),
                "plugin-fees" => Some(Fees),
                _ => None,
            })
    }

    /// Returns the version whose rules are applied, and how well they are known.
    pub fn version(self) -> &'static str {
        match self {
            Ledger | Crm => "3.8",
            Ledger4 => "4.0 (beta)",
            Tracer => "4.0 (beta), and its chart 2.1",
            FetcherManager | FetcherWorker => "2.0",
            Matcher => "main branch",
            Reporter => "development branch",
            Fees => "3.4, from its chart: the source is not public",
        }
    }

    /// Returns the name of the service in the Tenant Manager, where the product has a usual one.
    pub fn service(self) -> &'static str {
        match self {
            Ledger | Ledger4 => "ledger",
            Crm => "crm",
            Tracer => "tracer",
            FetcherManager | FetcherWorker => "fetcher",
            Matcher => "matcher",
            Reporter => "reporter",
            Fees => "plugin-fees",
        }
    }

    /// Returns the variable with the address of the Access Manager.
    pub fn auth_variable(self) -> &'static str {
        match self {
            Ledger | Ledger4 => "PLUGIN_AUTH_HOST",
            _ => "PLUGIN_AUTH_ADDRESS",
        }
    }

    /// Returns true when `ENV_NAME` alone decides whether plain http is accepted.
    pub fn http_by_environment(self) -> bool {
        matches!(self, Ledger | Ledger4 | Crm)
    }

    /// Tells the product from its own variables; `None` when they do not say.
    pub fn of(variables: &Variables) -> Option<Self> {
        let has = |name: &str| variables.get(name).is_some();
        let text = |name: &str| variables.text(name).unwrap_or_default();
        if has("DB_ONBOARDING_HOST") || has("DB_TRANSACTION_HOST") {
            return Some(ledger(variables));
        }
        for name in ["OTEL_LIBRARY_NAME", "OTEL_RESOURCE_SERVICE_NAME"] {
            if let Some(found) = told(text(name), variables) {
                return Some(found);
            }
        }
        if has("CEL_COST_LIMIT") || has("API_KEY_ENABLED_ONLY_VALIDATION") || has("TRACER_TLS_MODE")
        {
            return Some(Tracer);
        }
        if has("RABBITMQ_FETCHER_WORK_QUEUE") {
            return Some(fetcher(variables));
        }
        if has("RABBITMQ_GENERATE_REPORT_QUEUE") {
            return Some(Reporter);
        }
        if has("DEFAULT_TENANT_ID") || has("POSTGRES_SSLMODE") && has("RABBITMQ_HEALTH_URL") {
            return Some(Matcher);
        }
        if has("LCRYPTO_HASH_SECRET_KEY") && has("MONGO_HOST") && !has("MONGO_CRM_HOST") {
            return Some(Crm);
        }
        ["APPLICATION_NAME", "MULTI_TENANT_SERVICE_NAME"]
            .into_iter()
            .find_map(|name| told(text(name), variables))
    }

    /// Tells the product from the name of a file, an image, a service or a container.
    pub fn in_name(name: &str, variables: &Variables) -> Option<Self> {
        told(name, variables)
    }
}

fn told(name: &str, variables: &Variables) -> Option<Product> {
    let name = name.to_ascii_lowercase();
    // The last word that names a product: `midaz/components/crm/.env`.
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let mut found = None;
    for word in words {
        found = match word {
            "ledger" | "midaz" => Some(ledger(variables)),
            "4" if found == Some(Ledger) => Some(Ledger4),
            "crm" => Some(Crm),
            "tracer" => Some(Tracer),
            "fetcher" => Some(fetcher(variables)),
            "manager" if matches!(found, Some(FetcherManager | FetcherWorker)) => {
                Some(FetcherManager)
            }
            "worker" if matches!(found, Some(FetcherManager | FetcherWorker)) => {
                Some(FetcherWorker)
            }
            "matcher" => Some(Matcher),
            "reporter" => Some(Reporter),
            "fees" => Some(Fees),
            _ => found,
        };
    }
    found
}

/// The version says which ledger; without one it is the released one.
fn ledger(variables: &Variables) -> Product {
    let version = variables.text("VERSION").unwrap_or_default();
    let library = variables.text("OTEL_LIBRARY_NAME").unwrap_or_default();
    let four = version.trim_start_matches('v').starts_with("4.") || library.contains("/v4/");
    if four || variables.get("MONGO_CRM_HOST").is_some() {
        Ledger4
    } else {
        Ledger
    }
}

fn fetcher(variables: &Variables) -> Product {
    let worker = variables.get("RABBITMQ_JOB_EVENTS_EXCHANGE").is_some()
        || variables
            .get("OTEL_RESOURCE_SERVICE_NAME")
            .is_some_and(|_| {
                variables
                    .text("OTEL_RESOURCE_SERVICE_NAME")
                    .is_some_and(|name| name.ends_with("-worker"))
            });
    if worker {
        FetcherWorker
    } else {
        FetcherManager
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_has_a_name_of_its_own() {
        for product in Product::ALL {
            assert_eq!(Product::named(product.as_str()), Some(product));
            let json = serde_json::to_value(product).unwrap();
            assert_eq!(json, product.as_str());
        }
        assert_eq!(Product::named("nonsense"), None);
    }

    #[test]
    fn a_product_is_told_by_what_only_it_reads() {
        for (variables, expected) in [
            (
                &[("DB_ONBOARDING_HOST", "x"), ("VERSION", "v3.8.0")][..],
                Some(Ledger),
            ),
            (
                &[("DB_ONBOARDING_HOST", "x"), ("VERSION", "v4.0.0")],
                Some(Ledger4),
            ),
            (
                &[
                    ("APPLICATION_NAME", "ledger"),
                    (
                        "OTEL_LIBRARY_NAME",
                        "github.com/LerianStudio/midaz/v3/components/crm",
                    ),
                ],
                Some(Crm),
            ),
            (&[("APPLICATION_NAME", "ledger")], Some(Ledger)),
            (&[("CEL_COST_LIMIT", "1")], Some(Tracer)),
            (
                &[("OTEL_RESOURCE_SERVICE_NAME", "fetcher-worker")],
                Some(FetcherWorker),
            ),
            (
                &[("OTEL_RESOURCE_SERVICE_NAME", "fetcher")],
                Some(FetcherManager),
            ),
            (
                &[("OTEL_RESOURCE_SERVICE_NAME", "reporter-manager")],
                Some(Reporter),
            ),
            (&[("DEFAULT_TENANT_ID", "x")], Some(Matcher)),
            (&[("APPLICATION_NAME", "plugin-fees")], Some(Fees)),
            (&[("PATH", "/bin")], None),
        ] {
            let variables: Variables = variables.iter().copied().collect();
            assert_eq!(Product::of(&variables), expected, "{variables:?}");
        }
        let none = Variables::default();
        assert_eq!(
            Product::in_name("midaz/components/crm/.env", &none),
            Some(Crm)
        );
        assert_eq!(
            Product::in_name("lerianstudio/fetcher-worker:3", &none),
            Some(FetcherWorker)
        );
        assert_eq!(Product::in_name("postgres:17", &none), None);
    }
}
