use super::*;
use crate::boot::input;
use crate::boot::variables::Value;
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        server: "https://tm.example".to_owned(),
        environment: "production".to_owned(),
        redis_host: Some("redis.example".to_owned()),
        redis_port: 6380,
        redis_tls: true,
        redis_has_password: true,
        auth_address: "http://plugin-auth:4000".to_owned(),
        allow_insecure_http: false,
        allow_insecure_tls: false,
        service: None,
        secrets: Vec::new(),
    }
}

fn read(product: Product, format: Format, text: &str) -> Variables {
    let found = match format {
        Format::Dotenv => return input::dotenv(text).unwrap(),
        Format::Compose => input::compose(text, &|_| Ok(None)).unwrap(),
        Format::K8s => input::kubernetes(text).unwrap(),
        Format::Helm => input::helm(text, Some(product)).unwrap(),
    };
    assert_eq!(found.len(), 1, "{text}");
    if format == Format::Compose {
        assert_eq!(found[0].tell(), Some(product), "{text}");
    }
    found.into_iter().next().unwrap().variables
}

#[test]
fn every_block_is_accepted_by_the_rules_that_it_is_written_for() {
    for product in Product::ALL {
        for format in Format::ALL {
            for insecure in [false, true] {
                let mut settings = settings();
                settings.allow_insecure_tls = insecure;
                let block = render(product, format, &settings).unwrap();
                let variables = read(product, format, &block.text);
                let found = Assessment::of("block", product, &variables);
                assert_eq!(found.verdict, Verdict::Boots, "{found:#?}\n{}", block.text);
                assert_eq!(found.tenancy, Tenancy::ByocMultiTenant, "{}", block.text);
                // Nothing in it is odd, and nothing is refused for what was written.
                for finding in &found.findings {
                    let fine = finding.severity <= crate::boot::Severity::Info
                        || matches!(finding.rule, "placeholder-left" | "tls-not-required");
                    assert!(fine, "{product} {format:?}: {finding:#?}\n{}", block.text);
                }
            }
        }
    }
}

#[test]
fn secrets_are_written_when_they_are_given_and_not_otherwise() {
    for product in Product::ALL {
        for format in Format::ALL {
            let hidden = render(product, format, &settings()).unwrap();
            assert!(!hidden.text.contains("hunter"), "{}", hidden.text);
            let mut open = settings();
            open.secrets = vec![
                ("MULTI_TENANT_SERVICE_API_KEY", Secret::new("hunter2")),
                ("MULTI_TENANT_REDIS_PASSWORD", Secret::new("hunter3")),
            ];
            let shown = render(product, format, &open).unwrap();
            let reads = product != Product::Reporter;
            let has_place =
                !(format == Format::Helm && matches!(product, Product::Crm | Product::Matcher));
            assert_eq!(
                shown.text.contains("hunter2"),
                reads && has_place,
                "{}",
                shown.text
            );
            assert!(!format!("{open:?}").contains("hunter"));
        }
    }
}

#[test]
fn what_a_product_would_refuse_is_not_written() {
    let mut http = settings();
    http.server = "http://tm.example".to_owned();
    for product in Product::ALL {
        let error = render(product, Format::Dotenv, &http).unwrap_err();
        let RenderError::Refused { reasons, .. } = error else {
            panic!("{error}");
        };
        assert!(reasons[0].contains("plain http"), "{reasons:?}");
    }
    let mut elsewhere = settings();
    elsewhere.environment = "prod".to_owned();
    assert!(render(Product::Ledger, Format::Helm, &elsewhere).is_err());
    let mut relative = settings();
    relative.server = "tm.example".to_owned();
    assert!(render(Product::Tracer, Format::K8s, &relative).is_err());
    // On this machine plain http gives nothing away.
    let mut local = settings();
    local.server = "http://127.0.0.1:4003".to_owned();
    local.environment = "staging".to_owned();
    local.allow_insecure_http = true;
    for product in Product::ALL {
        let written = render(product, Format::Dotenv, &local);
        assert_eq!(
            written.is_ok(),
            product != Product::Matcher,
            "{product} {written:?}"
        );
    }
}

proptest! {
    #[test]
    fn values_come_back_as_they_were(value in "[ -~\n\u{a1}-\u{2027}\u{2030}-\u{d7ff}\u{1f300}-\u{1f6ff}]{0,40}") {
        let mut settings = settings();
        settings.secrets = vec![("MULTI_TENANT_SERVICE_API_KEY", Secret::new(value.as_str()))];
        for format in Format::ALL {
            let block = render(Product::Tracer, format, &settings).unwrap();
            let variables = read(Product::Tracer, format, &block.text);
            let entry = variables.get("MULTI_TENANT_SERVICE_API_KEY").map(|entry| &entry.value);
            match entry {
                Some(Value::Known(text)) => prop_assert_eq!(text.expose(), value.as_str()),
                // An empty one is as good as none for the chart.
                _ => prop_assert!(value.is_empty() && format == Format::Helm),
            }
        }
    }
}
