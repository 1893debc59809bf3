mod matrix;
mod published;

use std::collections::BTreeSet;

use matrix::{B, I, MATRIX, R};

use super::*;
use crate::boot::Product::{
    Crm, Fees, FetcherManager, FetcherWorker, Ledger, Ledger4, Matcher, Reporter, Tracer,
};
use crate::boot::{Assessment, Tenancy, Verdict, input};

/// An environment with which the product starts as BYOC multi-tenant and nothing is found.
fn good(product: Product) -> Vec<(&'static str, &'static str)> {
    let mut pairs = vec![
        ("MULTI_TENANT_ENABLED", "true"),
        ("PLUGIN_AUTH_ENABLED", "true"),
        (product.auth_variable(), "https://auth.example"),
        ("MULTI_TENANT_URL", "https://tm.example"),
        ("ENV_NAME", "production"),
        ("DEPLOYMENT_MODE", "byoc"),
        ("ALLOW_INSECURE_TLS", "false"),
    ];
    if product != Reporter {
        pairs.push(("MULTI_TENANT_SERVICE_API_KEY", "hunter2"));
    }
    if !matches!(product, Matcher | Reporter) {
        pairs.extend([
            ("MULTI_TENANT_REDIS_HOST", "redis.example"),
            ("MULTI_TENANT_REDIS_TLS", "true"),
        ]);
    }
    let more: &[(&str, &str)] = match product {
        Ledger | Ledger4 => &[
            ("APPLICATION_NAME", "ledger"),
            ("MULTI_TENANT_CACHE_TTL_SEC", "600"),
            ("DB_ONBOARDING_HOST", "pg"),
            ("DB_ONBOARDING_SSLMODE", "require"),
            ("DB_TRANSACTION_HOST", "pg"),
            ("DB_TRANSACTION_SSLMODE", "verify-full"),
            ("REDIS_HOST", "redis:6379"),
            ("REDIS_TLS", "true"),
            ("RABBITMQ_TRANSACTION_BALANCE_OPERATION_QUEUE", "q"),
        ],
        Crm => &[
            ("APPLICATION_NAME", "crm"),
            ("MULTI_TENANT_CACHE_TTL_SEC", "600"),
            ("MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD", "5"),
            ("MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC", "30"),
            ("MULTI_TENANT_MAX_TENANT_POOLS", "100"),
            ("MONGO_HOST", "mongo"),
            ("MONGO_URI", "mongodb+srv"),
        ],
        Tracer => &[
            ("DB_HOST", "pg"),
            ("DB_SSL_MODE", "require"),
            ("TRACER_TLS_MODE", "mtls"),
        ],
        FetcherManager | FetcherWorker => &[
            ("MULTI_TENANT_CACHE_TTL_SEC", "600"),
            ("MONGO_HOST", "mongo"),
            ("MONGO_URI", "mongodb+srv"),
        ],
        Matcher => &[("AUTH_JWT_SECRET", "hunter4"), ("POSTGRES_HOST", "pg")],
        Reporter => &[
            ("MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD", "5"),
            ("MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC", "30"),
            ("MULTI_TENANT_MAX_TENANT_POOLS", "100"),
            ("MONGO_HOST", "mongo"),
            ("RABBITMQ_HOST", "rabbit"),
        ],
        Fees => &[],
    };
    pairs.extend(more);
    pairs
}

fn assess(product: Product, pairs: &[(&str, &str)]) -> Assessment {
    let variables: Variables = pairs.iter().copied().collect();
    let found = Assessment::of("test", product, &variables);
    let said = format!("{found:?}{}", serde_json::to_string(&found).unwrap());
    assert!(!said.contains("hunter"), "{said}");
    found
}

/// Changes the good environment: `NAME=value` sets, `-NAME` removes.
fn changed(product: Product, changes: &[&str]) -> Assessment {
    let mut variables: Variables = good(product).into_iter().collect();
    for change in changes {
        match (change.strip_prefix('-'), change.split_once('=')) {
            (Some(name), _) => variables.remove(name),
            (None, Some((name, value))) => variables.set(name, value, "line 1"),
            (None, None) => panic!("{change}"),
        }
    }
    Assessment::of("test", product, &variables)
}

fn has(found: &Assessment, rule: &str) -> bool {
    found.findings.iter().any(|finding| finding.rule == rule)
}

#[test]
fn a_good_environment_boots_and_nothing_is_found() {
    for product in Product::ALL {
        let found = assess(product, &good(product));
        assert_eq!(found.verdict, Verdict::Boots, "{found:#?}");
        assert_eq!(found.tenancy, Tenancy::ByocMultiTenant);
        let odd: Vec<_> = found
            .findings
            .iter()
            .filter(|finding| finding.severity > Severity::Info)
            .collect();
        assert!(odd.is_empty(), "{product}: {odd:#?}");
        let rules: Vec<_> = found.findings.iter().map(|finding| finding.rule).collect();
        let expected: &[&str] = match product {
            Ledger | Ledger4 => &["pools-not-limitable"],
            _ => &[],
        };
        assert_eq!(rules, expected, "{product}");
    }
}

#[test]
fn the_boot_matrix_is_that_of_the_products() {
    for (products, changes, verdict, rule) in MATRIX {
        for product in *products {
            let found = changed(*product, changes);
            let what = format!("{product} {changes:?}: {found:#?}");
            assert_eq!(found.verdict, *verdict, "{what}");
            assert!(has(&found, rule), "no {rule}: {what}");
            // The negative case: without the change the rule does not speak.
            let quiet = assess(*product, &good(*product));
            let told = quiet.findings.iter().find(|finding| finding.rule == *rule);
            assert!(
                told.is_none_or(|finding| finding.severity == Severity::Info),
                "{product} {rule} speaks without a reason"
            );
        }
    }
}

/// Rules that need more than one environment or a special input; their own tests are elsewhere.
const ELSEWHERE: &[&str] = &[
    "differ-url",
    "differ-redis",
    "differ-environment",
    "differ-api-key",
    "differ-auth",
    "differ-tenancy",
    "same-service",
    "budget-exceeded",
    "chart-drops",
    "line-malformed",
    "reference-unresolved",
    "variable-repeated",
    "value-elsewhere",
    "pools-not-limitable",
];

#[test]
fn every_rule_is_tried_and_reads_like_a_manual() {
    let tried: BTreeSet<&str> = MATRIX
        .iter()
        .map(|row| row.3)
        .chain(ELSEWHERE.iter().copied())
        .collect();
    let known: BTreeSet<&str> = rules().iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(tried, known);
    assert_eq!(rules().len(), known.len(), "an id is there twice");
    for rule in rules() {
        for text in [&rule.title, &rule.boot, &rule.why, &rule.remedy] {
            assert!(!text.is_empty(), "{}", rule.id);
        }
        assert!(
            rule.why.ends_with(['.', ')']) && rule.boot.ends_with('.'),
            "{}",
            rule.id
        );
        assert!(
            !rule.title.ends_with('.') && !rule.remedy.ends_with('.'),
            "{}",
            rule.id
        );
        let id = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(rule.id.chars().all(id), "{}", rule.id);
    }
}

#[test]
fn a_neighbour_is_no_misspelling() {
    for (product, name) in [
        // Other variables of the same product, of another one, of the platform.
        (Ledger, "DB_ONBOARDING_REPLICA_HOST"),
        (Ledger, "DB_HOST"),
        (Tracer, "MONGO_HOST"),
        (Ledger, "OTEL_RESOURCE_ATTRIBUTES"),
        (Ledger, "PATH"),
        (Ledger, "LEDGER_SERVICE_HOST"),
        (Fees, "DB_ONBOARDING_HOST"),
    ] {
        let found = changed(product, &[&format!("{name}=x")]);
        assert!(
            !has(&found, "variable-misspelled"),
            "{product} {name} {found:#?}"
        );
        assert!(
            !has(&found, "variable-unknown"),
            "{product} {name} {found:#?}"
        );
    }
}

#[test]
fn the_tenancy_is_told() {
    let saas = changed(Ledger, &["DEPLOYMENT_MODE=SaaS"]);
    assert_eq!(
        (saas.verdict, saas.tenancy),
        (B, Tenancy::SaasMultiTenant),
        "{saas:#?}"
    );
    assert_eq!(saas.sentence(), "boots (SaaS-style multi-tenant)");
    let single = changed(Tracer, &["MULTI_TENANT_ENABLED=false", "-MULTI_TENANT_URL"]);
    assert_eq!(single.tenancy, Tenancy::SingleTenant);
    let refused = changed(Ledger, &["-MULTI_TENANT_URL", "-APPLICATION_NAME"]);
    assert_eq!(
        refused.sentence(),
        "refuses to start: MULTI_TENANT_URL is not set (and 1 more)"
    );
}

/// Environments as published, composed from what the products' examples set.
#[test]
fn published_examples_give_the_verdict_of_the_product() {
    let ledger = "ENV_NAME=development\nVERSION=v3.8.0\nDEPLOYMENT_MODE=local\nSERVER_PORT=3002\nSERVER_ADDRESS=:${SERVER_PORT}\n\
        PLUGIN_AUTH_ENABLED=false\nPLUGIN_AUTH_HOST=\nMULTI_TENANT_ENABLED=false\n# MULTI_TENANT_URL=http://tenant-manager:4003\n\
        DB_ONBOARDING_HOST=midaz-postgres-primary\nDB_ONBOARDING_PASSWORD=lerian\nDB_ONBOARDING_SSLMODE=disable\n\
        DB_TRANSACTION_HOST=midaz-postgres-primary\nDB_TRANSACTION_PASSWORD=lerian\nDB_TRANSACTION_SSLMODE=disable\n\
        MONGO_ONBOARDING_HOST=midaz-mongodb\nMONGO_ONBOARDING_URI=mongodb\nMONGO_TRANSACTION_HOST=midaz-mongodb\nMONGO_TRANSACTION_URI=mongodb\n\
        REDIS_HOST=midaz-valkey:5704\nREDIS_TLS=false\nRABBITMQ_URI=amqp\nRABBITMQ_HOST=midaz-rabbitmq\n\
        RABBITMQ_TRANSACTION_BALANCE_OPERATION_QUEUE=transaction.transaction_balance_operation.queue\n\
        OTEL_LIBRARY_NAME=github.com/LerianStudio/midaz/v3/components/ledger\n";
    let check = |text: &str, extra: &str| {
        let variables = input::dotenv(&format!("{text}{extra}")).unwrap();
        let product = Product::of(&variables).unwrap();
        Assessment::of("example", product, &variables)
    };
    // Single-tenant, and the library insists on TLS unless it is told not to.
    let found = check(ledger, "");
    assert_eq!((found.product, found.verdict), (Ledger, R), "{found:#?}");
    assert!(has(&found, "tls-required"));
    let found = check(ledger, "ALLOW_INSECURE_TLS=true\n");
    assert_eq!(
        (found.verdict, found.tenancy),
        (B, Tenancy::SingleTenant),
        "{found:#?}"
    );
    // What the public page says to switch on is not enough.
    let on = "ALLOW_INSECURE_TLS=true\nMULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm.example\n\
        MULTI_TENANT_SERVICE_API_KEY=hunter2\nMULTI_TENANT_REDIS_HOST=redis\n";
    let found = check(ledger, on);
    assert_eq!(found.verdict, R);
    assert!(has(&found, "auth-required") && has(&found, "application-name-missing"));
    let found = check(
        ledger,
        &format!("{on}PLUGIN_AUTH_ENABLED=true\nAPPLICATION_NAME=ledger\n"),
    );
    assert_eq!(found.verdict, I, "{found:#?}");
    assert!(has(&found, "auth-address-empty"));

    let tracer = "VERSION=v0.1.0\nDEPLOYMENT_MODE=local\nALLOW_INSECURE_TLS=true\nAPI_KEY=dev_api_key_32chars_change_in_prod\n\
        API_KEY_ENABLED=false\nAPI_KEY_ENABLED_ONLY_VALIDATION=false\nDB_HOST=midaz-postgres-primary\nDB_PASSWORD=lerian\nDB_SSL_MODE=disable\n\
        CEL_COST_LIMIT=10000\nPLUGIN_AUTH_ADDRESS=http://localhost:4000\nPLUGIN_AUTH_ENABLED=false\nAPPLICATION_NAME=tracer\n\
        MULTI_TENANT_ENABLED=false\nMULTI_TENANT_URL=\nMULTI_TENANT_REDIS_TLS=true\nMULTI_TENANT_MAX_TENANT_POOLS=100\n\
        OTEL_LIBRARY_NAME=github.com/LerianStudio/midaz/v4/components/tracer\n";
    let found = check(tracer, "");
    assert_eq!((found.product, found.verdict), (Tracer, B), "{found:#?}");
    let found = check(tracer, "MULTI_TENANT_ENABLED=true\n");
    assert_eq!(found.verdict, R);
    for rule in [
        "url-missing",
        "api-key-missing",
        "redis-host-missing",
        "auth-required",
    ] {
        assert!(has(&found, rule), "{rule}");
    }

    let fetcher = "ENV_NAME=development\nAPP_ENC_KEY=CHANGE_ME_set_encryption_key\nMONGO_URI=mongodb\nMONGO_HOST=fetcher-mongodb\n\
        PLUGIN_AUTH_ENABLED=false\nPLUGIN_AUTH_ADDRESS=http://localhost:4000\nMULTI_TENANT_ENABLED=false\nOTEL_RESOURCE_SERVICE_NAME=fetcher\n\
        RABBITMQ_FETCHER_WORK_QUEUE=fetcher.extract-external-data.queue\n";
    let found = check(fetcher, "");
    assert_eq!(
        (found.product, found.verdict),
        (FetcherManager, B),
        "{found:#?}"
    );
    // Nothing makes it insist on authentication.
    let found = check(
        fetcher,
        "MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm\nMULTI_TENANT_SERVICE_API_KEY=hunter2\nMULTI_TENANT_REDIS_HOST=redis\n",
    );
    assert_eq!(found.verdict, I, "{found:#?}");

    let crm = "ENV_NAME=development\nDEPLOYMENT_MODE=local\nVERSION=v3.7.0\nMONGO_HOST=midaz-mongodb\nMONGO_URI=mongodb\nMONGO_PASSWORD=lerian\n\
        LCRYPTO_HASH_SECRET_KEY=my-hash-secret-key\nPLUGIN_AUTH_ADDRESS=http://plugin-auth:4000\nPLUGIN_AUTH_ENABLED=false\n\
        APPLICATION_NAME=ledger\nMULTI_TENANT_ENABLED=false\nOTEL_LIBRARY_NAME=github.com/LerianStudio/midaz/v3/components/crm\nALLOW_INSECURE_TLS=true\n";
    let found = check(crm, "");
    assert_eq!((found.product, found.verdict), (Crm, B), "{found:#?}");
}
