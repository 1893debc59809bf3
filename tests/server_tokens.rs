//! Tokens of operators: whose are accepted, what they open, and what happens when nobody can say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lerianctl::server::{PermissionSource, TokenKeys, TokenSettings};
use lerianctl::token::SigningKey;
use serde_json::{Value, json};

use crate::server_kit::{Answer, Caller, path, slug};
use crate::support::{Play, Script, Server};

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn sign(key: &SigningKey, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(key.id().to_owned());
    let pem = EncodingKey::from_rsa_pem(key.to_pem().expose().as_bytes()).unwrap();
    jsonwebtoken::encode(&header, claims, &pem).unwrap()
}

/// Claims of a person with these permissions.
fn person(permissions: &[&str]) -> Value {
    json!({
        "sub": "ana", "owner": "lerian", "type": "normal-user", "name": "Ana",
        "iss": "https://auth.example", "aud": ["tm", "other"], "exp": now() + 600,
        "permissions": permissions,
    })
}

fn settings(script: &Script, permissions: PermissionSource) -> TokenSettings {
    TokenSettings {
        keys: TokenKeys::Url(format!("{}/jwks", script.url()).parse().unwrap()),
        issuer: Some("https://auth.example".into()),
        audience: Some("tm".into()),
        permissions,
        machines: vec!["deployer".into()],
    }
}

fn serve(tokens: TokenSettings) -> Server {
    Server::start_with(|settings| settings.access.tokens = Some(tokens))
}

async fn send(caller: &Caller, method: &str, path: &str, token: &str, body: &Value) -> Answer {
    let request = caller.request(method, path).bearer_auth(token);
    Caller::send(if method == "GET" {
        request
    } else {
        request.json(body)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_claim_says_and_needs_no_key() {
    let key = SigningKey::generate().unwrap();
    let script = Script::play([Play::json(200, key.jwks())]);
    let server = serve(settings(
        &script,
        PermissionSource::Claim("permissions".into()),
    ));
    let nobody = Caller::at(&server.url());
    let get = |token: String| {
        let nobody = nobody.clone();
        async move { send(&nobody, "GET", "/v1/admin/tenants", &token, &Value::Null).await }
    };

    let reader = sign(&key, &person(&["backoffice:tm:tenants:read"]));
    get(reader.clone()).await.expect(200);
    let body = json!({ "name": slug("x"), "slug": slug("x"), "environment": "staging", "isolationMode": "schema" });
    let refused = send(&nobody, "POST", "/v1/admin/tenants", &reader, &body).await;
    refused.refusal(403, "auth.not_permitted");
    let writer = sign(&key, &person(&["backoffice:tm:tenants:write"]));
    send(&nobody, "POST", "/v1/admin/tenants", &writer, &body)
        .await
        .expect(201);
    // A right to make keys gives no other right away.
    let keys = sign(&key, &person(&["backoffice:tm:keys:write"]));
    let mighty = json!({ "name": slug("k"), "role": "operator" });
    let refused = send(&nobody, "POST", "/v1/admin/keys", &keys, &mighty).await;
    refused.refusal(403, "auth.not_permitted");

    // Whatever is not right, and a minute of clocks that differ is.
    let all = &["backoffice:tm:tenants:read"];
    let with = |name: &str, value: Value| {
        let mut claims = person(all);
        claims[name] = value;
        sign(&key, &claims)
    };
    get(with("exp", json!(now() - 30))).await.expect(200);
    get(with("nbf", json!(now() + 30))).await.expect(200);
    for bad in [
        with("exp", json!(now() - 90)),
        with("exp", Value::Null),
        with("exp", json!("tomorrow")),
        with("nbf", json!(now() + 90)),
        with("iss", json!("https://other.example")),
        with("aud", json!("other")),
        with("owner", Value::Null),
        sign(&SigningKey::generate().unwrap(), &person(all)),
        format!("{reader}x"),
        "x".into(),
    ] {
        get(bad.clone()).await.refusal(401, "auth.invalid_token");
        // A bad token beside a good key is no better.
        let root = Caller::new(&server);
        let beside = send(&root, "GET", "/v1/admin/tenants", &bad, &Value::Null).await;
        beside.refusal(401, "auth.invalid_token");
    }
    get(with("permissions", json!(["midaz:ledgers:get"])))
        .await
        .refusal(403, "auth.not_permitted");
    // An algorithm that the key could do, but that is not accepted.
    let pem = EncodingKey::from_rsa_pem(key.to_pem().expose().as_bytes()).unwrap();
    let other = jsonwebtoken::encode(&Header::new(Algorithm::PS256), &person(all), &pem).unwrap();
    get(other).await.refusal(401, "auth.invalid_token");
    // Bad tokens do not make the server ask on and on.
    assert!(script.seen().len() <= 3, "{}", script.seen().len());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_token_count_together() {
    let key = SigningKey::generate().unwrap();
    let script = Script::play([Play::json(200, key.jwks())]);
    let server = serve(settings(
        &script,
        PermissionSource::Claim("permissions".into()),
    ));
    let root = Caller::new(&server);
    let tenant = root.tenant(&["tracer"], "schema").await;
    let made = json!({ "name": slug("product"), "role": "service", "services": ["reporter"] });
    let made = root.post("/v1/admin/keys", &made).await.expect(201);
    let product = root.with_key(made["key"].as_str().unwrap());
    let token = sign(&key, &person(&["backoffice:tm:tenants:write"]));
    let suspend = path(&tenant, "/suspend");
    product
        .post(&suspend, &json!({}))
        .await
        .refusal(403, "auth.not_permitted");
    send(&product, "POST", &suspend, &token, &json!({}))
        .await
        .expect(200);
    // The token says nothing of connections, so the key's scope holds.
    let place = format!(
        "/v1/tenants/{}/associations/tracer/connections",
        tenant["id"].as_str().unwrap()
    );
    let refused = send(&product, "GET", &place, &token, &Value::Null).await;
    refused.refusal(403, "auth.out_of_scope");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_manager_decides_and_without_it_nobody_may() {
    let key = SigningKey::generate().unwrap();
    let (jwks, down) = (key.jwks(), Arc::new(AtomicBool::new(false)));
    let off = Arc::clone(&down);
    let script = Script::answer(move |request, _| {
        if request.line.contains("/jwks") {
            return Play::json(200, &jwks);
        }
        if off.load(Ordering::SeqCst) {
            return Play::json(503, "{}");
        }
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert!(!request.headers["authorization"].starts_with("Bearer "));
        let person = json!({ "sub": "lerian/ana", "product": "backoffice", "resource": "tm:tenants", "action": "read" });
        let machine = json!({ "sub": "admin/backoffice-editor-role", "resource": "tm:tenants", "action": "read" });
        Play::json(
            200,
            json!({ "authorized": body == person || body == machine, "timestamp": "1" }),
        )
    });
    let address = script.url().parse().unwrap();
    let server = serve(settings(&script, PermissionSource::Authorize(address)));
    let nobody = Caller::at(&server.url());
    let ana = sign(&key, &person(&[]));
    let read = |token: String| {
        let nobody = nobody.clone();
        async move { send(&nobody, "GET", "/v1/admin/tenants", &token, &Value::Null).await }
    };
    read(ana.clone()).await.expect(200);
    let asked = script.seen().len();
    read(ana.clone()).await.expect(200);
    assert_eq!(
        script.seen().len(),
        asked,
        "a decision is remembered for a moment"
    );
    let write = json!({ "name": "x", "environment": "staging" });
    let refused = send(&nobody, "POST", "/v1/admin/tenants", &ana, &write).await;
    refused.refusal(403, "auth.not_permitted");

    // Every application would have the product's role: only the named ones are asked about.
    let machine = |id: &str| {
        let mut claims = person(&[]);
        claims["type"] = json!("application");
        claims["sub"] = json!(id);
        sign(&key, &claims)
    };
    read(machine("deployer")).await.expect(200);
    read(machine("plugin-fees"))
        .await
        .refusal(403, "auth.not_permitted");

    down.store(true, Ordering::SeqCst);
    let mut other = person(&[]);
    other["sub"] = json!("bia");
    read(sign(&key, &other))
        .await
        .refusal(503, "auth.unavailable");
    Caller::new(&server)
        .get("/v1/admin/tenants")
        .await
        .expect(200);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_never_had_are_a_503_and_a_new_key_is_found() {
    let (first, second) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let mut tokens = settings(
        &Script::play([Play::Reset]),
        PermissionSource::Claim("permissions".into()),
    );
    tokens.keys = TokenKeys::File(file.clone());
    let get = |server: &Server, key: &SigningKey| {
        let token = sign(key, &person(&["backoffice:tm:tenants:read"]));
        let nobody = Caller::at(&server.url());
        async move { send(&nobody, "GET", "/v1/admin/tenants", &token, &Value::Null).await }
    };
    let server = serve(tokens.clone());
    get(&server, &first).await.refusal(503, "auth.unavailable");
    server.stop();

    std::fs::write(&file, first.jwks().to_string()).unwrap();
    let server = serve(tokens);
    get(&server, &first).await.expect(200);
    std::fs::write(&file, second.jwks().to_string()).unwrap();
    // Asked for again after a pause, because a token names a key that is not known.
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let answer = get(&server, &second).await;
        if answer.status == 200 {
            break;
        }
        answer.refusal(401, "auth.invalid_token");
        assert!(
            std::time::Instant::now() < deadline,
            "the new key is never found"
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    get(&server, &first)
        .await
        .refusal(401, "auth.invalid_token");
    server.stop();
}
