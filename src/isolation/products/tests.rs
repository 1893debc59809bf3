use std::time::Duration;

use super::*;
use crate::isolation::inventory::parse_file;

const GRACE: Duration = Duration::from_mins(15);

/// What a careful operator gives a product.
const GOOD: [(&str, &str); 10] = [
    ("MULTI_TENANT_ENABLED", "true"),
    ("MULTI_TENANT_URL", "https://tm.example"),
    ("MULTI_TENANT_SERVICE_API_KEY", "Zk3x9QpL0aWm7vTr5sYb"),
    ("MULTI_TENANT_REDIS_HOST", "redis"),
    ("MULTI_TENANT_REDIS_TLS", "true"),
    ("MULTI_TENANT_CACHE_TTL_SEC", "600"),
    ("PLUGIN_AUTH_ENABLED", "true"),
    ("PLUGIN_AUTH_HOST", "https://auth.example"),
    ("ENV_NAME", "production"),
    ("APPLICATION_NAME", "ledger"),
];

fn product(product: Product, change: &[(&str, &str)]) -> ProductEnvironment {
    let mut variables: Variables = GOOD.into_iter().collect();
    if product != Product::Ledger {
        variables.remove("PLUGIN_AUTH_HOST");
        variables.set("PLUGIN_AUTH_ADDRESS", "https://auth.example", "");
        variables.set("APPLICATION_NAME", product.service(), "");
        variables.set(
            "MULTI_TENANT_SERVICE_API_KEY",
            "another-Key-0123456789-abcdef",
            "",
        );
    }
    for (name, value) in change {
        variables.set(name, value, "");
    }
    ProductEnvironment {
        source: "a file".into(),
        product,
        variables,
        replicas: 2,
    }
}

fn inventory() -> Inventory {
    let file = parse_file(
        "[[store]]\ntenant = 'acme'\nhost = 'db'\ndatabase = 'acme'\nlogin = 'acme_app'\n\
         service = 'ledger'\nenvironment = 'production'\nstatement-timeout = '30s'\n\
         [[store]]\ntenant = 'bravo'\nhost = 'db'\ndatabase = 'bravo'\nlogin = 'bravo_app'\n\
         service = 'ledger'\nenvironment = 'production'\n",
    )
    .unwrap();
    Inventory {
        stores: file
            .store
            .into_iter()
            .map(|store| store.into_store(None))
            .collect(),
        event_redis: Some("redis:6379".into()),
        ..Inventory::default()
    }
}

/// The ids that are found, with severities.
fn found(products: &[ProductEnvironment]) -> Vec<(String, &'static str)> {
    let findings = check(&inventory(), products, GRACE);
    assert!(!format!("{findings:?}").contains("Zk3x9"), "{findings:?}");
    let mut found: Vec<_> = findings
        .into_iter()
        .map(|finding| (finding.check, finding.severity.as_str()))
        .collect();
    found.sort();
    found
}

#[test]
fn careful_products_have_no_findings_and_one_mistake_has_its_own() {
    let ledger = |change: &[(&str, &str)]| product(Product::Ledger, change);
    let tracer = |change: &[(&str, &str)]| product(Product::Tracer, change);
    assert_eq!(found(&[ledger(&[]), tracer(&[])]), []);
    let with = |change: &[(&str, &str)]| found(&[ledger(change), tracer(&[])]);
    for (change, wanted) in [
        (("MULTI_TENANT_ENABLED", "false"), ("CF-08", "critical")),
        (("PLUGIN_AUTH_ENABLED", "false"), ("CF-08", "critical")),
        (("PLUGIN_AUTH_HOST", ""), ("CF-08", "critical")),
        (("MULTI_TENANT_CACHE_TTL_SEC", "0"), ("CF-12", "high")),
        (("MULTI_TENANT_CACHE_TTL_SEC", "861"), ("CF-12", "high")),
        (
            ("MULTI_TENANT_SERVICE_API_KEY", "changeme"),
            ("CF-11", "high"),
        ),
        (
            (
                "MULTI_TENANT_SERVICE_API_KEY",
                "another-Key-0123456789-abcdef",
            ),
            ("CF-11", "medium"),
        ),
        (("MULTI_TENANT_CACHE_TTL_SECS", "600"), ("CF-18", "medium")),
    ] {
        let found = with(&[change]);
        assert_eq!(found, [(wanted.0.to_owned(), wanted.1)], "{change:?}");
    }
    // 860 + 5 + 5 + 30 = 900: exactly enough.
    assert_eq!(with(&[("MULTI_TENANT_CACHE_TTL_SEC", "860")]), []);
    let other = with(&[("MULTI_TENANT_REDIS_HOST", "elsewhere")]);
    assert!(
        other.iter().all(|(id, _)| id == "CF-10") && !other.is_empty(),
        "{other:?}"
    );
    let other = with(&[("ENV_NAME", "staging")]);
    let ids: BTreeSet<&str> = other.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["CF-09", "CF-10"]), "{other:?}");
    let none = with(&[("ENV_NAME", "")]);
    assert_eq!(none, [("CF-09".to_owned(), "high")]);
}

#[test]
fn a_product_that_is_off_next_to_tenants_stores_is_critical() {
    let off = |host: &str| {
        let off = ("MULTI_TENANT_ENABLED", "false");
        product(Product::Tracer, &[off, ("DB_HOST", host)])
    };
    let on = product(Product::Ledger, &[]);
    assert_eq!(
        found(&[on.clone(), off("DB")]),
        [("CF-08".to_owned(), "critical")]
    );
    assert_eq!(found(&[on, off("other")]), [("CF-08".to_owned(), "medium")]);
    // Alone it is single-tenant, which is no mistake.
    assert_eq!(found(&[off("db")]), []);
}

#[test]
fn places_and_connections_are_counted() {
    let mut many = inventory();
    for at in 0..150 {
        let mut store = many.stores[0].clone();
        store.tenant = format!("t{at}");
        store.service = "tracer".into();
        many.stores.push(store);
    }
    let tracer = product(Product::Tracer, &[("MULTI_TENANT_CACHE_TTL_SEC", "120")]);
    let findings = check(&many, std::slice::from_ref(&tracer), GRACE);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].check.as_str(), findings[0].to.len()),
        ("CF-14", 150)
    );

    let room = |most| Room { most, reserved: 3 };
    let small = product(Product::Tracer, &[("MULTI_TENANT_MAX_TENANT_POOLS", "10")]);
    // 2 replicas × (10 × 25 × 2 pools + 2)
    let products = [small];
    assert!(budget("db:5432", room(1017), &many, &products).is_none());
    let finding = budget("db:5432", room(1016), &many, &products).unwrap();
    assert_eq!(
        (finding.check.as_str(), finding.severity.as_str()),
        ("CF-13", "high")
    );
    assert!(budget("other:5432", room(100), &many, &products).is_none());
}
