use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::boot::Assessment;
use crate::boot::variables::{Oddity, Value};

#[expect(clippy::unnecessary_wraps, reason = "the readers want a fallible one")]
fn none(_: &str) -> Result<Option<String>, InputError> {
    Ok(None)
}

fn odd_lines(variables: &Variables) -> usize {
    let line = |oddity: &&Oddity| matches!(oddity, Oddity::Line { .. });
    variables.oddities.iter().filter(line).count()
}

#[test]
fn dotenv_takes_what_loaders_take() {
    let text = "\u{feff}# comment\r\nA=plain # comment\r\nexport B='single # ${A}'\nC=\"a \\\"b\\\" ${A} \\${A}\"\nD=pa$$word#1\nE=\nF=\"two\nlines\"\nG=:${A}\nH=${NONE}/x\nA=later\n";
    let read = dotenv(text).unwrap();
    for (name, value) in [
        ("A", "later"),
        ("B", "single # ${A}"),
        ("C", "a \"b\" plain ${A}"),
        ("D", "pa$$word#1"),
        ("E", ""),
        ("F", "two\nlines"),
        ("G", ":plain"),
        ("H", "/x"),
    ] {
        assert_eq!(read.raw(name), Some(value), "{name}");
    }
    assert_eq!(read.oddities.len(), 2, "{:?}", read.oddities);
    assert!(
        matches!(&read.oddities[1], Oddity::Repeated { name, place } if name == "A" && place == "line 11")
    );
}

#[test]
fn nonsense_is_told_by_its_line_and_never_repeated() {
    let read = dotenv("hunter2\n=hunter2\n1A=hunter2\nA='hunter2\nB=1").unwrap();
    assert_eq!(odd_lines(&read), 4, "{:?}", read.oddities);
    assert!(!format!("{:?}", read.oddities).contains("hunter"));
    let read = dotenv("A=\"x\" y\nB=1\n").unwrap();
    assert_eq!((odd_lines(&read), read.raw("B")), (1, Some("1")));
    let read = dotenv(&"rubbish\n".repeat(100_000)).unwrap();
    assert!(read.oddities.len() <= 20);
    assert!(dotenv("A=1\0B=2").unwrap_err().message.contains("NUL"));
}

#[test]
fn the_kernels_form_is_read() {
    let read = environ(b"A=1\0B=x=y\0\0=z\0C\0A=2\0D=\xff\0");
    assert_eq!(
        (read.raw("A"), read.raw("B"), read.len()),
        (Some("1"), Some("x=y"), 3)
    );
}

const COMPOSE: &str = "
x-common: &common
  MULTI_TENANT_ENABLED: \"true\"
  MULTI_TENANT_URL: ${TM_URL:-https://tm.example}
services:
  ledger:
    image: docker.io/lerianstudio/midaz-ledger:3.8.0
    env_file:
      - base.env
      - path: none.env
        required: false
    environment:
      <<: *common
      ENV_NAME: production
      MULTI_TENANT_SERVICE_API_KEY: ${KEY}
      MULTI_TENANT_REDIS_PORT: 6380
      REDIS_PASSWORD:
      DB_ONBOARDING_PASSWORD: a$$b
  db:
    image: postgres:17
    environment:
      - POSTGRES_PASSWORD=x
  fetch:
    image: lerianstudio/fetcher-worker
    environment:
      - ENV_NAME=staging
      - LOG_LEVEL
      - ENV_NAME=production
";

#[test]
fn compose_files_are_read() {
    let beside = |name: &str| {
        Ok(match name {
            ".env" => Some("TM_URL=https://other.example\n".to_owned()),
            "base.env" => Some("APPLICATION_NAME=ledger\nENV_NAME=staging\n".to_owned()),
            _ => None,
        })
    };
    let found = compose(COMPOSE, &beside).unwrap();
    assert_eq!(found.len(), 3);
    let ledger = &found[0].variables;
    assert_eq!(found[0].tell(), Some(Product::Ledger));
    for (name, value) in [
        ("MULTI_TENANT_URL", "https://other.example"),
        ("ENV_NAME", "production"),
        ("APPLICATION_NAME", "ledger"),
        ("MULTI_TENANT_REDIS_PORT", "6380"),
        ("MULTI_TENANT_ENABLED", "true"),
        ("DB_ONBOARDING_PASSWORD", "a$b"),
    ] {
        assert_eq!(ledger.raw(name), Some(value), "{name}");
    }
    for name in ["MULTI_TENANT_SERVICE_API_KEY", "REDIS_PASSWORD"] {
        let entry = ledger.get(name).map(|entry| &entry.value);
        assert!(matches!(entry, Some(Value::Elsewhere(_))), "{name}");
    }
    assert_eq!(found[1].tell(), None);
    assert_eq!(found[2].tell(), Some(Product::FetcherWorker));
    assert_eq!(found[2].variables.raw("ENV_NAME"), Some("production"));
    assert_eq!(found[2].variables.oddities.len(), 1);
    let error = compose("services: {a: {env_file: gone.env}}", &none).unwrap_err();
    assert!(error.message.contains("gone.env"), "{error}");
    assert!(compose("a: 1", &none).is_err());
}

const MANIFESTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: ledger}
data: {MULTI_TENANT_ENABLED: \"true\", ENV_NAME: staging}
---
apiVersion: v1
kind: Secret
metadata: {name: ledger}
data: {MULTI_TENANT_SERVICE_API_KEY: aHVudGVyMg==}
stringData: {REDIS_PASSWORD: hunter3}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: midaz-ledger}
spec:
  template:
    spec:
      initContainers: [{name: wait, image: busybox}]
      containers:
        - name: midaz-ledger
          image: lerianstudio/midaz-ledger:3.8.0
          envFrom:
            - configMapRef: {name: ledger}
            - secretRef: {name: ledger}
          env:
            - {name: ENV_NAME, value: production}
            - name: DB_ONBOARDING_PASSWORD
              valueFrom: {secretKeyRef: {name: pg, key: password}}
            - name: POD_IP
              valueFrom: {fieldRef: {fieldPath: status.podIP}}
";

#[test]
fn manifests_are_read_with_what_they_refer_to() {
    let found = kubernetes(MANIFESTS).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].component.as_str(), found[0].tell()),
        ("midaz-ledger", Some(Product::Ledger))
    );
    let variables = &found[0].variables;
    for (name, value) in [
        ("MULTI_TENANT_ENABLED", "true"),
        ("ENV_NAME", "production"),
        ("MULTI_TENANT_SERVICE_API_KEY", "hunter2"),
        ("REDIS_PASSWORD", "hunter3"),
    ] {
        assert_eq!(variables.raw(name), Some(value), "{name}");
    }
    assert!(
        variables.given("DB_ONBOARDING_PASSWORD")
            && variables.raw("DB_ONBOARDING_PASSWORD").is_none()
    );
    // A Secret that is not there is believed; a ConfigMap that is not there is told.
    let without = MANIFESTS.split("---").nth(2).unwrap();
    let found = kubernetes(without).unwrap();
    assert!(found[0].variables.given("MULTI_TENANT_SERVICE_API_KEY"));
    let assessment = Assessment::of("x", Product::Ledger, &found[0].variables);
    assert!(
        assessment
            .findings
            .iter()
            .any(|finding| finding.rule == "value-elsewhere")
    );
    // Lists are what `kubectl get -o yaml` prints.
    let list = "kind: List\nitems:\n- {kind: ConfigMap, metadata: {name: tracer}, data: {ENV_NAME: staging}}\n";
    let found = kubernetes(list).unwrap();
    assert_eq!((found.len(), found[0].tell()), (1, Some(Product::Tracer)));
    assert!(kubernetes("a: 1").is_err());
    assert!(kubernetes("kind: Service").is_err());
}

#[test]
fn values_of_charts_are_read_as_the_chart_writes_them() {
    let text = "
global:
  multiTenant: {url: https://tm.example, redisHost: redis.example, redisTls: \"true\"}
ledger:
  image: {tag: 3.8.0}
  multiTenant: {enabled: true}
  configmap:
    PLUGIN_AUTH_ENABLED: true
    APPLICATION_NAME: ledger
  secrets: {MULTI_TENANT_SERVICE_API_KEY: hunter2}
crm:
  enabled: true
  configmap: {MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: https://tm.example}
  extraEnvVars: {ENV_NAME: production}
";
    let found = helm(text, None).unwrap();
    assert_eq!(found.len(), 2);
    let ledger = &found[0].variables;
    for (name, value) in [
        ("MULTI_TENANT_ENABLED", "true"),
        ("MULTI_TENANT_URL", "https://tm.example"),
        ("MULTI_TENANT_REDIS_HOST", "redis.example"),
        ("MULTI_TENANT_REDIS_TLS", "true"),
        ("MULTI_TENANT_REDIS_PORT", "6379"),
        ("ENV_NAME", "production"),
        ("ALLOW_INSECURE_TLS", "true"),
        ("PLUGIN_AUTH_HOST", ""),
    ] {
        assert_eq!(ledger.raw(name), Some(value), "{name}");
    }
    let rules = |found: &Found| -> Vec<&'static str> {
        let product = found.tell().unwrap();
        let assessment = Assessment::of("x", product, &found.variables);
        assessment
            .findings
            .iter()
            .map(|finding| finding.rule)
            .collect()
    };
    // The chart drops it, so it is not there: the product refuses to start.
    let of_ledger = rules(&found[0]);
    for rule in [
        "chart-drops",
        "application-name-missing",
        "auth-address-empty",
    ] {
        assert!(of_ledger.contains(&rule), "{rule}: {of_ledger:?}");
    }
    let of_crm = rules(&found[1]);
    for rule in ["chart-drops", "url-missing", "api-key-missing"] {
        assert!(of_crm.contains(&rule), "{rule}: {of_crm:?}");
    }
    assert_eq!(found[1].variables.raw("ENV_NAME"), Some("production"));
    // Nothing at all is what the chart does by itself: single-tenant.
    let bare = helm("", Some(Product::Tracer)).unwrap();
    assert_eq!(bare[0].variables.raw("MULTI_TENANT_ENABLED"), Some("false"));
    assert!(bare[0].variables.get("MULTI_TENANT_URL").is_none());
    assert!(helm("", None).unwrap().is_empty());
    assert!(helm("[1]", None).is_err());
    // The templates compare with the text `true`.
    let word = "ledger: {configmap: {MULTI_TENANT_ENABLED: 'True'}}";
    let found = helm(word, None).unwrap();
    assert_eq!(
        found[0].variables.raw("MULTI_TENANT_ENABLED"),
        Some("false")
    );
    assert!(rules(&found[0]).contains(&"chart-drops"));
    let fetcher = "manager: {image: {repository: lerianstudio/fetcher-manager}}\nworker: {image: {repository: lerianstudio/fetcher-worker}}\n";
    let products: Vec<_> = helm(fetcher, None)
        .unwrap()
        .iter()
        .filter_map(Found::tell)
        .collect();
    assert_eq!(products, [Product::FetcherManager, Product::FetcherWorker]);
}

#[test]
fn bombs_are_refused_before_they_grow() {
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 10].join(",");
        let _ = writeln!(laughs, "a{level}: &a{level} [{items}]");
    }
    let big = "x".repeat(200_000);
    let heavy = format!("a: &a \"{big}\"\nb: [{}]\n", vec!["*a"; 500].join(","));
    let many = format!(
        "a: &a [{}]\nb: [{}]\n",
        vec!["1"; 50_000].join(","),
        vec!["*a"; 1000].join(",")
    );
    let deep = "[".repeat(100_000);
    let selfish = "a: &a [*a]\n".to_owned();
    for text in [
        laughs,
        heavy,
        many,
        deep,
        selfish,
        "a: [".to_owned(),
        "? [a]\n: 1\n".to_owned(),
    ] {
        let begun = std::time::Instant::now();
        let error = helm(&text, None).unwrap_err();
        assert!(error.message.len() < 200, "{error}");
        // Seconds even in a debug build on a busy machine, where growth would take hours.
        assert!(begun.elapsed() < std::time::Duration::from_mins(1));
    }
}

#[test]
fn duplicated_keys_tags_and_strange_scalars_do_no_harm() {
    let text =
        "services: {ledger: {environment: {A: 1, A: 2, B: !reset null, C: 1.5, D: true, E: [x]}}}";
    let found = compose(text, &none).unwrap();
    assert_eq!(found[0].variables.raw("A"), Some("2"));
    assert_eq!(found[0].variables.raw("C"), Some("1.5"));
    assert_eq!(found[0].variables.raw("D"), Some("true"));
    assert_eq!(found[0].variables.raw("E"), None);
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "(?s).{0,300}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = dotenv(&text);
        let _ = compose(&text, &none);
        let _ = kubernetes(&text);
        let _ = helm(&text, Some(Product::Ledger));
        let read = environ(&bytes);
        for product in Product::ALL {
            let _ = Assessment::of("x", product, &read);
        }
    }

    #[test]
    fn no_yaml_like_text_makes_a_reader_panic(text in "([a-c&*<!>|\\-\\[\\]{}:,'\"#%@?~ \n$]|services|kind: |data: |environment){0,60}") {
        let _ = compose(&text, &none);
        let _ = kubernetes(&text);
        let _ = helm(&text, Some(Product::Crm));
    }
}
