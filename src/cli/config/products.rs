//! The products' own rules for what a configuration says to them too: those of `env check`, for the
//! variables that this program reads as well.

use crate::boot::variables::Value as Known;
use crate::boot::{Assessment, Effect, Finding as Ruled, Product, Severity as Badness, Variables};
use crate::config::{ConfigInput, Finding, Severity, is_product_variable};

/// Products whose rules are compared when the environment does not tell which it is of.
const USUAL: [Product; 4] = [
    Product::Ledger,
    Product::Crm,
    Product::Tracer,
    Product::FetcherManager,
];

/// Returns what products would say at boot to the variables of an input: those of `--env-file`,
/// over which those of this process win.
pub(super) fn findings(input: &ConfigInput) -> Vec<Finding> {
    let mut variables = Variables::default();
    for (_, text) in &input.env_files {
        if let Ok(read) = crate::boot::input::lines(text.as_bytes()) {
            for (name, entry) in read.iter() {
                if let Known::Known(value) = &entry.value {
                    variables.set(name, value.expose(), "");
                }
            }
        }
    }
    for (name, value) in &input.variables {
        if is_product_variable(name) {
            variables.set(name, value, "");
        }
    }
    let told = Product::of(&variables);
    let products = told.as_ref().map_or(&USUAL[..], std::slice::from_ref);
    let assessed: Vec<(Product, Vec<Ruled>)> = products
        .iter()
        .map(|product| {
            let findings = Assessment::of("", *product, &variables).findings;
            let ours = findings.into_iter().filter(|finding| {
                let variable = finding.variable.as_deref();
                let read = variable.is_some_and(is_product_variable);
                finding.severity > Badness::Info && (read || finding.rule == "variable-misspelled")
            });
            (*product, ours.collect())
        })
        .collect();
    merged(&assessed)
}

/// Says each thing once: as it is where all products agree, with their names where some do.
fn merged(assessed: &[(Product, Vec<Ruled>)]) -> Vec<Finding> {
    let mut out: Vec<Finding> = Vec::new();
    let mut seen: Vec<(&str, Option<&str>)> = Vec::new();
    for (_, findings) in assessed {
        for finding in findings {
            let what = (finding.rule, finding.variable.as_deref());
            let Some(code) = code(finding.rule).filter(|_| !seen.contains(&what)) else {
                continue;
            };
            seen.push(what);
            let same = |other: &&Ruled| (other.rule, other.variable.as_deref()) == what;
            let who: Vec<(Product, &Ruled)> = assessed
                .iter()
                .filter_map(|(product, all)| Some((*product, all.iter().find(same)?)))
                .collect();
            let serious = |(_, it): &(Product, &Ruled)| {
                it.effect == Effect::Refuses
                    || it.effect == Effect::Insecure && it.severity >= Badness::High
            };
            let all = who.len() == assessed.len() && who.iter().all(serious);
            let names: Vec<&str> = who.iter().map(|(product, _)| product.as_str()).collect();
            let message = if assessed.len() == 1 || all {
                finding.message.clone()
            } else {
                format!("{} ({})", finding.message, names.join(", "))
            };
            out.push(Finding {
                severity: if all {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                code,
                message,
                hint: Some(finding.remedy.clone()),
            });
        }
    }
    out
}

/// Returns the code under which a rule is told here; nothing for a rule about how a value is
/// written, which is told where the value is read.
fn code(rule: &str) -> Option<&'static str> {
    Some(match rule {
        "auth-required" | "auth-required-production" => "config.auth_required",
        "auth-address-empty"
        | "auth-variable-swapped"
        | "auth-address-relative"
        | "auth-address-http"
        | "auth-secret-missing" => "config.auth_address",
        "url-missing"
        | "api-key-missing"
        | "application-name-missing"
        | "environment-missing"
        | "redis-host-missing"
        | "breaker-missing" => "config.missing",
        "environment-without-events" | "environment-split" => "config.environment",
        "cache-never-expires"
        | "cache-too-short"
        | "cache-default-long"
        | "breaker-off"
        | "breaker-window-zero"
        | "pools-unlimited"
        | "number-not-positive" => "config.zero",
        "url-http-refused" | "url-http" => "config.insecure_http",
        // Nor is anything wrong with a laptop that knows where the Tenant Manager is.
        "tenancy-off-but-set"
        | "url-invalid"
        | "flag-malformed"
        | "number-malformed"
        | "port-invalid"
        | "host-with-port"
        | "value-padded"
        | "variable-repeated" => return None,
        _ => "config.product",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(variables: &[(&str, &str)]) -> Vec<(Severity, &'static str)> {
        let input = ConfigInput {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..ConfigInput::default()
        };
        let found = findings(&input);
        found.iter().map(|it| (it.severity, it.code)).collect()
    }

    #[test]
    fn what_all_products_refuse_is_an_error_and_what_some_do_a_warning() {
        use Severity::{Error, Warning};
        let on = ("MULTI_TENANT_ENABLED", "true");
        assert!(codes(&[]).is_empty());
        assert!(codes(&[("MULTI_TENANT_URL", "https://tm.example")]).is_empty());
        // The Fetcher starts without authentication, which is no better.
        assert!(codes(&[on]).contains(&(Error, "config.auth_required")));
        assert!(codes(&[on]).contains(&(Error, "config.missing")));
        let auth = ("PLUGIN_AUTH_ENABLED", "true");
        let ledger = ("APPLICATION_NAME", "ledger");
        let address = (Error, "config.auth_address");
        assert!(codes(&[on, auth, ledger]).contains(&address));
        let all = [
            on,
            auth,
            ("PLUGIN_AUTH_HOST", "http://plugin-auth:4000"),
            ("PLUGIN_AUTH_ADDRESS", "http://plugin-auth:4000"),
            ("MULTI_TENANT_URL", "https://tm.example"),
            ("MULTI_TENANT_SERVICE_API_KEY", "key"),
            ("MULTI_TENANT_REDIS_HOST", "redis"),
            ("MULTI_TENANT_CACHE_TTL_SEC", "600"),
            ("ENV_NAME", "production"),
        ];
        let of =
            |product: &'static str| codes(&[&all[..], &[("APPLICATION_NAME", product)]].concat());
        assert!(of("ledger").is_empty(), "{:?}", of("ledger"));
        // Told apart, each has its own rules; untold, what only some mind is a warning.
        assert!(of("tracer").is_empty(), "{:?}", of("tracer"));
        assert!(
            codes(&all).contains(&(Warning, "config.missing")),
            "{:?}",
            codes(&all)
        );
        let zero = [&all[..], &[ledger, ("MULTI_TENANT_CACHE_TTL_SEC", "0")]].concat();
        assert_eq!(codes(&zero), [(Warning, "config.zero")]);
    }
}
