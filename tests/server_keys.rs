//! Keys that operators make: what they open, what they do not, and how they end.

use std::time::{Duration, Instant};

use lerianctl::server::AccessSettings;
use serde_json::{Value, json};

use crate::server_kit::{Answer, Caller, path, slug};
use crate::support::{Postgres, Server, cluster};

/// Makes a key and returns the whole answer.
async fn make(caller: &Caller, body: Value) -> Value {
    caller.post("/v1/admin/keys", &body).await.expect(201)
}

fn text(made: &Value) -> &str {
    made["key"].as_str().unwrap()
}

fn id(made: &Value) -> String {
    made["record"]["id"].as_str().unwrap().to_owned()
}

async fn service_key(caller: &Caller, service: &str, environments: &[&str]) -> Value {
    let body = json!({
        "name": slug("product"), "role": "service",
        "services": [service], "environments": environments,
    });
    make(caller, body).await
}

async fn operator_key(caller: &Caller, role: &str) -> Caller {
    let made = make(caller, json!({ "name": slug("person"), "role": role })).await;
    caller.with_key(text(&made))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_reads_its_own_services_and_nothing_else() {
    let server = Server::start();
    let root = Caller::new(&server);
    let tenant = root.tenant(&["tracer"], "schema").await;
    let other = root.tenant(&["reporter"], "schema").await;
    let made = service_key(&root, "tracer", &[]).await;
    assert!(text(&made).starts_with(&format!("lrk_{}_", id(&made))));
    let product = root.with_key(text(&made));

    let config = product.connections(&tenant, "tracer").await.expect(200);
    assert!(config["databases"]["tracer"]["postgresql"]["password"].is_string());
    let active = product
        .get("/v1/tenants/active?service=tracer")
        .await
        .expect(200);
    assert!(
        active
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["id"] == tenant["id"])
    );
    let view = format!("/v1/tenants/{}", tenant["id"].as_str().unwrap());
    product.get(&view).await.expect(200);

    // Another service: 403 without a status, which closes no pool and calls nobody suspended.
    for refused in [
        product.connections(&other, "reporter").await,
        product.connections(&tenant, "reporter").await,
        product.get("/v1/tenants/active?service=reporter").await,
        product
            .get(&format!("/v1/tenants/{}", other["id"].as_str().unwrap()))
            .await,
    ] {
        refused.refusal(403, "auth.out_of_scope");
        assert!(refused.expect(403).get("status").is_none());
    }
    for refused in [
        product.get("/v1/admin/info").await,
        product.get("/v1/admin/tenants").await,
        product.get("/v1/admin/keys").await,
        product.post(&path(&tenant, "/suspend"), &json!({})).await,
        product.post("/v1/admin/keys", &json!({})).await,
        product
            .put(&format!("{view}/associations/tracer/suspend"))
            .await,
        product.post("/v1/tenants", &json!({})).await,
    ] {
        refused.refusal(403, "auth.not_permitted");
    }
    // Nothing of the key is kept but its public part.
    let listed = root.get("/v1/admin/keys").await;
    assert!(listed.text.contains(&id(&made)));
    assert!(!listed.text.contains(text(&made)));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_of_one_environment_does_not_see_the_tenants_of_another() {
    let server = Server::start();
    let root = Caller::new(&server);
    let tenant = root.tenant(&["tracer"], "schema").await;
    let staging = service_key(&root, "tracer", &["staging"]).await;
    let both = service_key(&root, "tracer", &["staging", "production"]).await;
    let view = format!("/v1/tenants/{}", tenant["id"].as_str().unwrap());
    for (key, status) in [(&staging, 403), (&both, 200)] {
        let product = root.with_key(text(key));
        // Twice: put together, and remembered.
        product.connections(&tenant, "tracer").await.expect(status);
        product.connections(&tenant, "tracer").await.expect(status);
        product.get(&view).await.expect(status);
        let active = product.get("/v1/tenants/active?service=tracer").await;
        let listed = active.text.contains(tenant["id"].as_str().unwrap());
        assert_eq!(listed, status == 200, "{}", active.text);
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_open_what_they_are_for() {
    let server = Server::start();
    let root = Caller::new(&server);
    let tenant = root.tenant(&["tracer"], "schema").await;
    let reader = operator_key(&root, "read-only").await;
    let operator = operator_key(&root, "operator").await;
    let glass = operator_key(&root, "break-glass").await;

    for read in [
        "/v1/admin/tenants",
        "/v1/admin/operations",
        "/v1/admin/keys",
    ] {
        reader.get(read).await.expect(200);
    }
    let denied = |answer: Answer| answer.refusal(403, "auth.not_permitted");
    denied(reader.connections(&tenant, "tracer").await);
    denied(reader.post(&path(&tenant, "/suspend"), &json!({})).await);
    denied(reader.post(&path(&tenant, "/verify"), &json!({})).await);
    denied(
        reader
            .patch(&path(&tenant, ""), &json!({ "name": "x" }))
            .await,
    );

    operator.connections(&tenant, "tracer").await.expect(200);
    operator
        .post(&path(&tenant, "/suspend"), &json!({}))
        .await
        .expect(200);
    operator
        .post(&path(&tenant, "/reactivate"), &json!({}))
        .await
        .expect(200);
    // What cannot be undone, however it is spelled.
    for action in ["purge", "purg%65", "%70urge"] {
        denied(
            operator
                .post(&path(&tenant, &format!("/{action}")), &json!({}))
                .await,
        );
    }
    let drop = json!({ "dropData": true });
    denied(
        operator
            .post(&path(&tenant, "/services/tracer/remove"), &drop)
            .await,
    );
    let force = json!({ "name": "x", "environment": "production", "force": true });
    denied(operator.post("/v1/admin/tenants", &force).await);
    denied(
        operator
            .post(
                &path(&tenant, "/services/reporter"),
                &json!({ "force": true }),
            )
            .await,
    );
    glass
        .post(&path(&tenant, "/suspend"), &json!({}))
        .await
        .expect(200);
    let plan = json!({ "dryRun": true });
    glass
        .post(&path(&tenant, "/purge"), &plan)
        .await
        .expect(200);

    // Nobody gives, or takes, more than they have.
    let mighty = make(
        &root,
        json!({ "name": slug("mighty"), "role": "break-glass" }),
    )
    .await;
    for role in ["break-glass", "operator"] {
        denied(
            reader
                .post(
                    "/v1/admin/keys",
                    &json!({ "name": slug("x"), "role": role }),
                )
                .await,
        );
    }
    denied(
        operator
            .post(
                "/v1/admin/keys",
                &json!({ "name": slug("x"), "role": "break-glass" }),
            )
            .await,
    );
    for verb in ["rotate", "revoke"] {
        let target = format!("/v1/admin/keys/{}/{verb}", id(&mighty));
        denied(operator.post(&target, &json!({})).await);
    }
    service_key(&operator, "tracer", &[]).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_overlaps_and_revocation_is_immediate() {
    let server = Server::start();
    let root = Caller::new(&server);
    let tenant = root.tenant(&["tracer"], "schema").await;
    let first = service_key(&root, "tracer", &[]).await;
    let rotate = format!("/v1/admin/keys/{}/rotate", id(&first));
    let second = root.post(&rotate, &json!({ "graceSeconds": 600 })).await;
    assert_eq!(second.headers["cache-control"], "no-store");
    let second = second.expect(201);
    assert_eq!(second["record"]["rotatedFrom"], first["record"]["id"]);
    assert_eq!(second["record"]["name"], first["record"]["name"]);
    assert_eq!(second["record"]["services"], json!(["tracer"]));
    let old = root
        .get(&format!("/v1/admin/keys/{}", id(&first)))
        .await
        .expect(200);
    assert_eq!(old["expiresAt"], second["replaces"]["expiresAt"]);

    let (a, b) = (root.with_key(text(&first)), root.with_key(text(&second)));
    a.connections(&tenant, "tracer").await.expect(200);
    b.connections(&tenant, "tracer").await.expect(200);
    // Only one successor, whoever asks.
    root.post(&rotate, &json!({}))
        .await
        .refusal(409, "key.ended");

    let name = first["record"]["name"].as_str().unwrap();
    let revoked = root
        .post(
            &format!("/v1/admin/keys/{name}/revoke"),
            &json!({ "reason": "leaked" }),
        )
        .await
        .expect(200);
    assert_eq!(revoked["items"].as_array().unwrap().len(), 2);
    for gone in [&a, &b] {
        gone.connections(&tenant, "tracer")
            .await
            .refusal(401, "auth.invalid_key");
    }
    // Again is no error, and the name is free.
    let again = root
        .post(&format!("/v1/admin/keys/{}/revoke", id(&first)), &json!({}))
        .await;
    assert_eq!(again.expect(200)["items"], json!([]));
    make(
        &root,
        json!({ "name": name, "role": "service", "services": ["tracer"] }),
    )
    .await;
    root.get("/v1/admin/keys/nobody")
        .await
        .refusal(404, "key.not_found");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_by_itself() {
    let server = Server::start();
    let root = Caller::new(&server);
    let body = json!({ "name": slug("short"), "role": "read-only", "expiresInSeconds": 2 });
    let made = make(&root, body).await;
    let key = root.with_key(text(&made));
    key.get("/v1/admin/info").await.expect(200);
    let deadline = Instant::now() + Duration::from_mins(1);
    let refused = loop {
        let answer = key.get("/v1/admin/info").await;
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < deadline, "it never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        ["auth.key_expired", "auth.invalid_key"]
            .contains(&refused.expect(401)["code"].as_str().unwrap())
    );
    let shown = root
        .get(&format!("/v1/admin/keys/{}", id(&made)))
        .await
        .expect(200);
    assert_eq!(shown["state"], "expired");
    assert!(shown["lastUsedAt"].is_string());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_one_key_and_tells_it_to_nobody_else() {
    let server = Server::start();
    let root = Caller::new(&server);
    let other = operator_key(&root, "break-glass").await;
    let body = json!({ "name": slug("once"), "role": "read-only" });
    let send = |caller: &Caller, body: &Value| {
        let request = caller.request("POST", "/v1/admin/keys");
        Caller::send(request.header("Idempotency-Key", "the-same").json(body))
    };
    let first = send(&root, &body).await.expect(201);
    let again = send(&root, &body).await.expect(201);
    assert_eq!(text(&first), text(&again));
    send(&root, &json!({ "name": "x", "role": "operator" }))
        .await
        .refusal(422, "request.key_reused");
    let stranger = send(&other, &body).await;
    stranger.refusal(409, "key.exists");
    assert!(!stranger.text.contains(text(&first)));
    root.post("/v1/admin/keys", &body)
        .await
        .refusal(409, "key.exists");

    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_key_is_told_in_one_answer() {
    let server = Server::start();
    let root = Caller::new(&server);
    let answer = root
        .post(
            "/v1/admin/keys",
            &json!({ "name": "9x", "role": "service", "services": ["nope"], "rateLimit": 0, "expiresInSeconds": 0 }),
        )
        .await;
    let said = answer.refusal(422, "request.invalid");
    for part in ["name", "nope", "rateLimit", "expiresInSeconds"] {
        assert!(said.contains(part), "{said}");
    }
    for body in [
        json!({ "name": "x", "role": "service" }),
        json!({ "name": "x", "role": "operator", "services": ["tracer"] }),
        json!({ "name": "x", "role": "root" }),
    ] {
        root.post("/v1/admin/keys", &body)
            .await
            .refusal(422, "request.invalid");
    }
    root.get("/v1/admin/keys?limit=0&cursor=x")
        .await
        .refusal(400, "request.invalid");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_where_they_stopped() {
    let server = Server::start();
    let root = Caller::new(&server);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(id(&make(
            &root,
            json!({ "name": slug("many"), "role": "read-only" }),
        )
        .await));
    }
    let mut found = Vec::new();
    let mut next = String::new();
    loop {
        let page = root
            .get(&format!("/v1/admin/keys?limit=2&search=MANY{next}"))
            .await
            .expect(200);
        let items = page["items"].as_array().unwrap();
        found.extend(
            items
                .iter()
                .map(|key| key["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    made.reverse();
    assert_eq!(found, made);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_too_often_is_told_when_to_go_on() {
    let server = Server::start_with(|settings| settings.access.rate_limit = 5);
    let root = Caller::new(&server);
    let limited = operator_key(&root, "read-only").await;
    let free = make(
        &root,
        json!({ "name": slug("fast"), "role": "read-only", "rateLimit": 1_000_000 }),
    )
    .await;
    let free = root.with_key(text(&free));
    let mut refused = None;
    for _ in 0..1000 {
        let answer = limited.get("/v1/admin/info").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(200);
    }
    let refused = refused.expect("a thousand requests in a row are more than 5 in a second");
    refused.refusal(429, "request.rate_limited");
    assert_eq!(refused.headers["retry-after"], "1");
    for _ in 0..60 {
        free.get("/v1/admin/info").await.expect(200);
        root.get("/v1/admin/info").await.expect(200);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    limited.get("/v1/admin/info").await.expect(200);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_keys_can_be_left_behind_but_not_the_last_operator() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Server::settings(
        folder.path(),
        vec![cluster("main", Postgres::shared())],
        None,
    );
    let server = Server::serve(settings.clone());
    let root = Caller::new(&server);
    let operator = make(&root, json!({ "name": "deploy", "role": "operator" })).await;
    Caller::new(&server)
        .with_key(text(&operator))
        .get("/v1/admin/info")
        .await
        .expect(200);
    server.stop();

    let bootstrap = settings.api_keys.remove(0);
    settings.access = AccessSettings {
        forget_api_keys: true,
        ..AccessSettings::default()
    };
    let server = Server::serve(settings.clone());
    let at = Caller::at(&server.url());
    at.with_key(bootstrap.expose())
        .get("/v1/admin/info")
        .await
        .refusal(401, "auth.invalid_key");
    let operator = at.with_key(text(&operator));
    let log = operator.get("/v1/admin/audit?limit=1000").await.expect(200);
    let entries = log["items"].as_array().unwrap().iter();
    let mut told: Vec<&str> = entries
        .filter(|entry| entry["record"]["action"] == "keys.bootstrap")
        .map(|entry| entry["record"]["detail"].as_str().unwrap())
        .collect();
    told.sort_unstable();
    // Accepted by the first start, withdrawn by the second.
    assert_eq!(told.len(), 2, "{log:#}");
    let id = told[0].strip_prefix("accepted: ").unwrap();
    assert!(id.starts_with("bootstrap-"), "{id}");
    assert_eq!(told[1], format!("withdrawn: {id}"));
    let shown = operator.get("/v1/admin/keys/deploy").await.expect(200);
    assert!(
        shown["lastUsedAt"].is_string(),
        "the use was noted at the end: {shown}"
    );
    operator
        .post("/v1/admin/keys/deploy/revoke", &json!({}))
        .await
        .expect(200);
    operator
        .get("/v1/admin/info")
        .await
        .refusal(401, "auth.invalid_key");
    server.stop();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = lerianctl::server::serve(listener, settings, std::future::pending());
    let error = tokio::time::timeout(Duration::from_mins(1), refused)
        .await
        .expect("it does not start")
        .unwrap_err();
    assert!(error.to_string().contains("nobody could use"), "{error}");
}

/// What SECURITY.md promises: the very next request of a key that another server has made is
/// served, and of one that it has withdrawn refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_on_every_server() {
    let settings = crate::server_bootstrap::settings();
    let servers = [Server::serve(settings.clone()), Server::serve(settings)];
    let [here, there] = [Caller::new(&servers[0]), Caller::new(&servers[1])];
    let made = make(&here, json!({ "name": "deploy", "role": "operator" })).await;
    let key = text(&made);
    there.with_key(key).get("/v1/admin/info").await.expect(200);
    here.with_key(key).get("/v1/admin/info").await.expect(200);

    let path = format!("/v1/admin/keys/{}/revoke", id(&made));
    here.post(&path, &json!({})).await.expect(200);
    for server in [&there, &here] {
        server
            .with_key(key)
            .get("/v1/admin/info")
            .await
            .refusal(401, "auth.invalid_key");
    }
    // For good: no older table of keys comes back.
    for _ in 0..20 {
        there
            .with_key(key)
            .get("/v1/admin/info")
            .await
            .refusal(401, "auth.invalid_key");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for server in servers {
        server.stop();
    }
}
