//! Every row of the products' error table, and every way to a database.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::contract::catalogue::Catalogue;
use crate::token::inspect;

const TENANT: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";
const NOW: i64 = 1_772_452_800;

fn text(header: &str, claims: &str, signature: &str) -> String {
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{signature}", b64(header), b64(claims))
}

fn token(header: &str, claims: &str, signature: &str) -> Inspection {
    let now = Timestamp::from_second(NOW).unwrap();
    inspect(&text(header, claims, signature), now).unwrap()
}

fn good() -> Inspection {
    let claims = format!(r#"{{"tenantId":"{TENANT}","type":"m","exp":{}}}"#, NOW + 60);
    token(r#"{"alg":"RS256"}"#, &claims, "c2ln")
}

fn config(json: serde_json::Value) -> RouteAnswer {
    RouteAnswer::Connections(Box::new(serde_json::from_value(json).unwrap()))
}

fn tracer(token: &Inspection, answer: &RouteAnswer) -> Route {
    route(token, &"tracer".parse().unwrap(), None, answer)
}

fn told(route: &Route) -> (Layer, u16, &str, &str) {
    assert!(!route.allowed && route.connections.is_empty(), "{route:?}");
    let answer = route.answer.as_ref().unwrap();
    (
        answer.by,
        answer.status,
        answer.code.unwrap_or_default(),
        answer.title.unwrap_or_default(),
    )
}

#[test]
fn every_answer_of_the_tenant_manager_has_its_row() {
    use RouteAnswer::{
        BreakerOpen, Forbidden, NotFound, Suspended, Unauthorized, Unavailable, Unexpected,
        Unreadable,
    };
    let status = |status: &str| Suspended {
        status: status.to_owned(),
    };
    for (answer, expected, message) in [
        (
            NotFound,
            (404, "TENANT_NOT_FOUND", "Tenant Not Found"),
            "tenant not found: 7b0e1c5a9f3d4b62a1c8e4d7f0936b21",
        ),
        (
            status("suspended"),
            (403, "0131", "Service Suspended"),
            "tenant service is suspended",
        ),
        (
            status("purged"),
            (403, "0131", "Service Suspended"),
            "tenant service is purged",
        ),
        (
            Forbidden,
            (403, "0131", "Access Denied"),
            "tenant service access denied",
        ),
        (
            BreakerOpen,
            (503, "SERVICE_UNAVAILABLE", "Service Unavailable"),
            "Service temporarily unavailable",
        ),
        (
            Unauthorized,
            (500, "TENANT_DB_ERROR", "Failed to resolve tenant database"),
            "Internal server error",
        ),
        (
            Unexpected { status: 429 },
            (500, "TENANT_DB_ERROR", "Failed to resolve tenant database"),
            "Internal server error",
        ),
        (
            Unavailable,
            (500, "TENANT_DB_ERROR", "Failed to resolve tenant database"),
            "Internal server error",
        ),
        (
            Unreadable,
            (500, "TENANT_DB_ERROR", "Failed to resolve tenant database"),
            "Internal server error",
        ),
    ] {
        let route = tracer(&good(), &answer);
        let (status, code, title) = expected;
        assert_eq!(
            told(&route),
            (Layer::TenantMiddleware, status, code, title),
            "{answer:?}"
        );
        assert_eq!(route.answer.as_ref().unwrap().message, message);
        assert_eq!(route.tenant_id.as_deref(), Some(TENANT));
        assert_eq!(route.answered_first, None);
    }
}

#[test]
fn nothing_is_looked_up_for_a_token_that_no_product_accepts() {
    let header = r#"{"alg":"RS256"}"#;
    let human = |more: &str| {
        format!(
            r#"{{"tenantId":"{TENANT}","type":"normal-user","exp":{}{more}}}"#,
            NOW + 60
        )
    };
    let machine = |more: &str| format!(r#"{{"type":"m","exp":{}{more}}}"#, NOW + 60);
    let right = machine(&format!(r#","tenantId":"{TENANT}""#));
    let middleware = |code| (Layer::TenantMiddleware, 401, code, "Unauthorized");
    let library = (Layer::Authorization, 401, "", "");
    let manager = (Layer::AccessManager, 401, "", "");
    // What the connections of the right tenant must never be handed out for.
    let answer = config(json!({"id": TENANT, "databases": {"tracer": {"postgresql":
        {"host": "db", "port": 5432, "database": "d", "username": "u", "password": "p"}}}}));
    for (header, claims, signature, expected, first) in [
        (
            r#"{"alg":"nope"}"#,
            right.clone(),
            "c2ln",
            middleware("INVALID_TOKEN"),
            true,
        ),
        (
            r#"{"alg":"None"}"#,
            right.clone(),
            "",
            middleware("INVALID_TOKEN"),
            true,
        ),
        (
            "{}",
            right.clone(),
            "c2ln",
            middleware("INVALID_TOKEN"),
            true,
        ),
        (
            header,
            machine(&format!(r#","tenantId":"{TENANT}","x":1e400"#)),
            "c2ln",
            middleware("INVALID_TOKEN"),
            true,
        ),
        (
            header,
            machine(""),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(r#","tenantId":"""#),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(r#","tenantId":7"#),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(r#","tenantId":null"#),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(&format!(r#","tenantId":["{TENANT}"]"#)),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(&format!(r#","TenantId":"{TENANT}""#)),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(&format!(r#","tenant_id":"{TENANT}""#)),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(&format!(r#","tenantId":"{TENANT}","tenantId":"""#)),
            "c2ln",
            middleware("MISSING_TENANT"),
            false,
        ),
        (
            header,
            machine(r#","tenantId":"../etc""#),
            "c2ln",
            middleware("INVALID_TENANT"),
            false,
        ),
        (
            header,
            machine(&format!(r#","tenantId":" {TENANT}""#)),
            "c2ln",
            middleware("INVALID_TENANT"),
            false,
        ),
        (
            header,
            machine(&format!(r#","tenantId":"{}""#, "a".repeat(257))),
            "c2ln",
            middleware("INVALID_TENANT"),
            false,
        ),
        (
            header,
            machine(r#","tenantId":"\ud800""#),
            "c2ln",
            middleware("INVALID_TENANT"),
            false,
        ),
        (header, human(""), "c2ln", library, false),
        (header, human(r#","owner":"acme""#), "c2ln", library, false),
        (
            header,
            human(r#","owner":"acme","sub":7"#),
            "c2ln",
            library,
            false,
        ),
        (r#"{"alg":"none"}"#, right.clone(), "", manager, false),
        (header, right.clone(), "", manager, false),
        (
            header,
            format!(r#"{{"tenantId":"{TENANT}","exp":{NOW}}}"#),
            "c2ln",
            manager,
            false,
        ),
        (
            header,
            format!(r#"{{"tenantId":"{TENANT}","exp":"{}"}}"#, NOW + 60),
            "c2ln",
            manager,
            false,
        ),
        (
            header,
            format!(r#"{{"tenantId":"{TENANT}","nbf":{}}}"#, NOW + 60),
            "c2ln",
            manager,
            false,
        ),
    ] {
        let token = token(header, &claims, signature);
        let refused = tenant_to_ask_for(&token).unwrap_err();
        assert_eq!(told(&refused), expected, "{header} {claims}");
        assert_eq!(refused.answered_first.is_some(), first, "{header} {claims}");
        assert_eq!(tracer(&token, &answer), *refused, "{header} {claims}");
    }
    assert_eq!(tenant_to_ask_for(&good()).unwrap(), TENANT);
}

#[test]
fn what_is_no_token_is_refused_too() {
    let now = Timestamp::from_second(NOW).unwrap();
    for (text, code, first) in [
        (String::new(), "MISSING_TOKEN", Some("Missing Token")),
        ("Bearer ".to_owned(), "MISSING_TOKEN", Some("Missing Token")),
        ("x".to_owned(), "INVALID_TOKEN", Some("Unauthorized")),
        (
            "a.b.c.d.e".to_owned(),
            "INVALID_TOKEN",
            Some("Unauthorized"),
        ),
        (text("{}", "[]", ""), "INVALID_TOKEN", Some("Unauthorized")),
        (text("{}", "null", ""), "MISSING_TENANT", None),
    ] {
        let route = Route::of_error(&inspect(&text, now).unwrap_err());
        assert_eq!(
            told(&route),
            (Layer::TenantMiddleware, 401, code, "Unauthorized")
        );
        assert_eq!(
            route.answered_first.map(|answer| answer.message).as_deref(),
            first
        );
    }
}

#[test]
fn a_product_connects_where_the_answer_says_and_no_password_is_shown() {
    let catalogue = Catalogue::default();
    let ledger = "ledger".parse().unwrap();
    let answer = config(json!({
        "id": TENANT, "isolationMode": "isolated",
        "databases": {
            "onboarding": {
                "postgresql": {"host": "db", "port": 5432, "database": "o", "username": "u1", "password": "s3cr3t"},
                "mongodb": {"uri": "mongodb://x:s3cr3t@m"}
            },
            "transaction": {
                "postgresql": {"host": "db", "port": 5432, "database": "t", "username": "u2", "password": "s3cr3t",
                    "sslmode": "verify-full"},
                "postgresqlReplica": {"host": "ro", "port": 5432, "database": "t", "username": "u2", "password": "s3cr3t"}
            }
        }
    }));
    let route = route(&good(), &ledger, catalogue.get(&ledger), &answer);
    assert!(route.allowed);
    let shown: Vec<_> = route
        .connections
        .iter()
        .map(|to| {
            format!(
                "{} {}@{}:{}/{} {} {}",
                to.module, to.user, to.host, to.port, to.database, to.sslmode, to.replica
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "onboarding u1@db:5432/o disable false",
            "transaction u2@db:5432/t verify-full true"
        ]
    );
    assert_eq!(route.findings[0].id, "store-missing");
    assert!(
        route.findings[0].text.contains(
            "no MongoDB for `crm-api`, `plugin-fees`, `transaction` and no RabbitMQ for `ledger`"
        ),
        "{}",
        route.findings[0].text
    );
    let json = serde_json::to_string(&route).unwrap();
    assert!(!json.contains("s3cr3t"), "{json}");
}

#[test]
fn a_missing_module_or_a_broken_answer_closes_the_way() {
    let catalogue = Catalogue::default();
    let database = |more: serde_json::Value| {
        let mut all =
            json!({"host": "db", "port": 5432, "database": "d", "username": "u", "password": "p"});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let one = |module: &str, mode: &str, more: serde_json::Value| {
        config(
            json!({"id": TENANT, "isolationMode": mode, "databases": {module: {"postgresql": database(more)}}}),
        )
    };
    let unavailable = 503;
    let failed = 500;
    for (service, answer, status) in [
        (
            "ledger",
            one("onboarding", "isolated", json!({})),
            unavailable,
        ),
        (
            "ledger",
            one("Onboarding", "isolated", json!({})),
            unavailable,
        ),
        ("tracer", config(json!({"id": TENANT})), unavailable),
        (
            "tracer",
            config(json!({"id": TENANT, "databases": {"tracer": {"mongodb": {}}}})),
            unavailable,
        ),
        ("tracer", one("tracer", "schema", json!({})), failed),
        (
            "tracer",
            one("tracer", "schema", json!({"schema": "a;b"})),
            failed,
        ),
        (
            "tracer",
            one("tracer", "isolated", json!({"host": ""})),
            failed,
        ),
        (
            "tracer",
            one("tracer", "isolated", json!({"database": ""})),
            failed,
        ),
    ] {
        let service = service.parse().unwrap();
        let route = route(&good(), &service, catalogue.get(&service), &answer);
        assert_eq!(told(&route).1, status, "{answer:?}");
    }
    // Without a module name of its own, Tracer takes the first module that has the store.
    let answer = config(json!({"id": TENANT, "databases": {
        "a": {"mongodb": {}},
        "b": {"postgresql": database(json!({"database": "first"}))},
        "tracer": {"postgresql": database(json!({"database": "second"}))}}}));
    assert_eq!(tracer(&good(), &answer).connections[0].database, "first");
    let schema = tracer(&good(), &one("tracer", "schema", json!({"schema": "t_7b"})));
    assert_eq!(schema.connections[0].schema.as_deref(), Some("t_7b"));
    assert_eq!(schema.isolation_mode.as_deref(), Some("schema"));
}

#[test]
fn connections_of_another_tenant_are_flagged() {
    let answer = |id: &str| {
        config(json!({"id": id, "databases": {"tracer": {"postgresql":
            {"host": "db", "port": 5432, "database": "d", "username": "u", "password": "p"}}}}))
    };
    let ids = |route: Route| {
        route
            .findings
            .iter()
            .map(|finding| finding.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(tracer(&good(), &answer(TENANT))), [""; 0]);
    assert_eq!(
        ids(tracer(&good(), &answer("0c4d2e6b8a1f4c7390ab5de1f2c3b4a5"))),
        ["other-tenant-answered"]
    );
    let dashed = format!(
        r#"{{"tenantId":"7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21","exp":{}}}"#,
        NOW + 60
    );
    let dashed = token(r#"{"alg":"RS256"}"#, &dashed, "c2ln");
    assert_eq!(ids(tracer(&dashed, &answer(TENANT))), ["two-spellings"]);
    assert_eq!(
        tenant_to_ask_for(&dashed).unwrap(),
        "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21"
    );
}
