//! `token inspect --resolve`: what a product would do with a token, answer by answer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use lerianctl::contract::TenantId;
use lerianctl::secret::Secret;
use serde_json::{Value, json};

use crate::support::{Output, Play, Redis, Sandbox, Script};

const TENANT: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

fn token_of(claims: &Value) -> String {
    let b64 = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.c2ln",
        b64(&json!({"alg": "RS256", "kid": "k"})),
        b64(claims)
    )
}

fn token() -> String {
    let end = Timestamp::now().as_second() + 600;
    token_of(&json!({"tenantId": TENANT, "type": "application", "exp": end}))
}

fn connections(id: &str) -> Value {
    json!({
        "id": id, "tenantSlug": "acme", "service": "tracer", "isolationMode": "schema",
        "databases": {"tracer": {"postgresql": {"host": "pg", "port": 5432, "database": "tracer_shared",
            "schema": "t_acme", "username": "u_acme", "password": "p4ssw0rd", "sslmode": "require"}}}
    })
}

/// Asks a server that plays `play` where a token leads.
fn resolve(server: &Script, token: &str, flags: &[&str]) -> Output {
    let room = Sandbox::new()
        .with("MULTI_TENANT_URL", server.url())
        .with("MULTI_TENANT_SERVICE_API_KEY", "k3y-of-the-product");
    let arguments = ["token", "inspect", "-", "--resolve", "--service", "tracer"];
    let output = room.run_with_input([&arguments[..], flags].concat(), token);
    for secret in ["p4ssw0rd", "k3y-of-the-product"] {
        assert!(
            !output.stdout.contains(secret) && !output.stderr.contains(secret),
            "{output}"
        );
    }
    output
}

#[test]
fn a_good_token_leads_to_its_database() {
    let server = Script::play([Play::json(200, connections(TENANT))]);
    let output = resolve(&server, &token(), &[]).success();
    assert!(
        output
            .stdout
            .contains("tracer: pg:5432/tracer_shared, schema t_acme, user u_acme, sslmode require"),
        "{output}"
    );
    let seen = server.seen();
    assert_eq!(
        seen[0].line,
        format!("GET /v1/tenants/{TENANT}/associations/tracer/connections")
    );
    assert_eq!(seen[0].headers["x-api-key"], "k3y-of-the-product");

    let document = resolve(&server, &token(), &["-o", "json"]).success().json();
    let route = &document["resolution"]["route"];
    assert_eq!(route["allowed"], true);
    assert_eq!(route["connections"][0]["schema"], "t_acme");
    assert_eq!(document["resolution"]["tier"], "tenantManager");
    // Resolving is not verifying.
    assert_eq!(document["verified"], false);
}

#[test]
fn every_answer_of_the_tenant_manager_is_told_as_a_product_would() {
    let suspended = json!({"code": "TS-SUSPENDED", "error": "no", "status": "suspended"});
    for (play, status, code, title) in [
        (
            Play::json(404, json!({"error": "tenant not found"})),
            404,
            "TENANT_NOT_FOUND",
            "Tenant Not Found",
        ),
        (Play::json(403, suspended), 403, "0131", "Service Suspended"),
        (
            Play::json(403, json!({"error": "no"})),
            403,
            "0131",
            "Access Denied",
        ),
        (
            Play::json(401, json!({"error": "wrong key"})),
            500,
            "TENANT_DB_ERROR",
            "Failed to resolve tenant database",
        ),
        (
            Play::json(422, json!({"error": "?"})),
            500,
            "TENANT_DB_ERROR",
            "Failed to resolve tenant database",
        ),
        (
            Play::json(500, json!({"error": "?"})),
            500,
            "TENANT_DB_ERROR",
            "Failed to resolve tenant database",
        ),
        (
            Play::json(200, "{\"databases\":[]}"),
            500,
            "TENANT_DB_ERROR",
            "Failed to resolve tenant database",
        ),
        (
            Play::json(202, "{}"),
            500,
            "TENANT_DB_ERROR",
            "Failed to resolve tenant database",
        ),
        (
            Play::Reset,
            500,
            "TENANT_DB_ERROR",
            "Failed to resolve tenant database",
        ),
        (
            Play::json(200, json!({"id": TENANT})),
            503,
            "SERVICE_UNAVAILABLE",
            "Service Unavailable",
        ),
    ] {
        let server = Script::play([play.clone()]);
        let document = resolve(&server, &token(), &["-o", "json"]).exits(3).json();
        let route = &document["resolution"]["route"];
        assert_eq!(route["allowed"], false, "{play:?}");
        assert_eq!(route["connections"], json!([]), "{play:?}");
        let answer = &route["answer"];
        assert_eq!(
            (&answer["status"], &answer["code"], &answer["title"]),
            (&json!(status), &json!(code), &json!(title)),
            "{play:?}"
        );
    }
}

#[test]
fn nobody_is_asked_about_a_token_that_no_product_gets_past() {
    let server = Script::play([Play::json(200, connections(TENANT))]);
    let now = Timestamp::now().as_second();
    for (claims, code) in [
        (
            json!({"type": "m", "exp": now + 60}),
            json!("MISSING_TENANT"),
        ),
        (
            json!({"tenantId": "../x", "type": "m", "exp": now + 60}),
            json!("INVALID_TENANT"),
        ),
        (
            json!({"tenantId": TENANT, "type": "m", "exp": now - 1}),
            Value::Null,
        ),
        (
            json!({"tenantId": TENANT, "type": "normal-user", "exp": now + 60}),
            Value::Null,
        ),
        (
            json!({"tenantId": "acme", "type": "m", "exp": now + 60}),
            json!("TENANT_NOT_FOUND"),
        ),
    ] {
        let output = resolve(&server, &token_of(&claims), &["-o", "json"]).exits(3);
        let resolution = &output.json()["resolution"];
        assert_eq!(resolution["tier"], "notAsked", "{output}");
        assert_eq!(resolution["route"]["answer"]["code"], code, "{output}");
    }
    assert!(server.seen().is_empty());
}

#[test]
fn another_tenants_connections_are_never_followed() {
    let other = "0c4d2e6b8a1f4c7390ab5de1f2c3b4a5";
    let server = Script::play([Play::json(200, connections(other))]);
    let output = resolve(&server, &token(), &[]).exits(3);
    assert!(
        output.stdout.contains("the connections of another tenant"),
        "{output}"
    );
    assert!(!output.stdout.contains("tracer_shared"), "{output}");
    // A dashed id is looked up canonically, and named for what it is.
    let server = Script::play([Play::json(200, connections(TENANT))]);
    let dashed = json!({"tenantId": "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21", "type": "m"});
    let output = resolve(&server, &token_of(&dashed), &[]).exits(3);
    assert!(output.stdout.contains("two-spellings"), "{output}");
    assert!(server.seen()[0].line.contains(TENANT));
}

#[test]
fn a_shared_cache_answers_first_and_says_so() {
    let redis = Redis::shared().endpoint();
    let tenant = TenantId::generate();
    let server = Script::play([Play::json(200, connections(tenant.as_str()))]);
    let claims =
        json!({"tenantId": tenant, "type": "m", "exp": Timestamp::now().as_second() + 600});
    let ask = |ttl: &str, key: &str| {
        let room = Sandbox::new()
            .with("MULTI_TENANT_URL", server.url())
            .with("MULTI_TENANT_SERVICE_API_KEY", key)
            .with("MULTI_TENANT_CACHE_TTL_SEC", ttl)
            .with("MULTI_TENANT_REDIS_HOST", &redis.host)
            .with("MULTI_TENANT_REDIS_PORT", redis.port.to_string())
            .with(
                "MULTI_TENANT_REDIS_PASSWORD",
                redis.password.as_ref().map_or("", Secret::expose),
            );
        let arguments = "token inspect - --resolve --service tracer -o json".split(' ');
        let output = room.run_with_input(arguments, token_of(&claims)).success();
        let resolution = output.json()["resolution"].clone();
        assert_eq!(
            resolution["route"]["connections"][0]["user"], "u_acme",
            "{output}"
        );
        assert!(resolution["ageSeconds"].is_u64(), "{output}");
        (resolution["tier"].clone(), server.seen().len())
    };
    assert_eq!(ask("300", "one"), (json!("tenantManager"), 1));
    assert_eq!(ask("300", "one"), (json!("sharedCache"), 1));
    // A zero lifetime is no cache, and another key opens nothing of what the first one sealed.
    assert_eq!(ask("0", "one"), (json!("tenantManager"), 2));
    assert_eq!(ask("300", "two"), (json!("tenantManager"), 3));
}
