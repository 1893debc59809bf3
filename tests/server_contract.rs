//! The contract: endpoints 1 to 7, shapes and status codes as Lerian's products expect them.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::server_kit::{Caller, log_in, path, slug};
use crate::support::Server;

fn spec(slug: &str) -> Value {
    json!({
        "name": "Banco Aurora", "slug": slug, "environment": "production", "isolation": "shared",
        "metadata": { "origin": "self-serve" },
        "owner": { "email": "owner@aurora.example", "emailVerified": true,
                   "passwordHash": format!("$2b$12${}", "a".repeat(53)) },
    })
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn a_tenant_is_created_once_and_returned_on_repeat() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let slug = slug("aurora");

    let made = caller.post("/v1/tenants", &spec(&slug)).await.expect(201);
    assert_eq!(keys(&made), BTreeSet::from(["id", "slug", "status"]));
    assert_eq!(made["slug"], slug);
    assert_eq!(made["status"], "active");
    let id = made["id"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    assert!(
        id.bytes()
            .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    );

    let mut again = spec(&slug);
    // The same password has another hash at every call.
    again["owner"]["passwordHash"] = json!(format!("$2b$12${}", "b".repeat(53)));
    assert_eq!(caller.post("/v1/tenants", &again).await.expect(200), made);

    let mut other = spec(&slug);
    other["name"] = json!("Banco Boreal");
    other["environment"] = json!("staging");
    other["metadata"]["origin"] = json!("elsewhere");
    other["owner"]["email"] = json!("other@aurora.example");
    let sentence = caller
        .post("/v1/tenants", &other)
        .await
        .refusal(409, "tenant.conflict");
    for field in ["name", "environment", "metadata", "owner email"] {
        assert!(sentence.contains(field), "{sentence}");
    }

    let view = caller.get(&format!("/v1/tenants/{id}")).await.expect(200);
    assert_eq!(
        view,
        json!({ "id": id, "tenantSlug": slug, "name": "Banco Aurora", "status": "active",
                "environment": "production", "metadata": { "origin": "self-serve" } })
    );

    let mut derived = spec("");
    derived.as_object_mut().unwrap().remove("slug");
    derived["name"] = json!(format!("São João {slug}"));
    let made = caller.post("/v1/tenants", &derived).await.expect(201);
    assert_eq!(made["slug"], format!("sao-joao-{slug}"));
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_in_one_answer() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let sentence = caller
        .post(
            "/v1/tenants",
            &json!({ "name": "x".repeat(10_000), "slug": "../x", "isolation": "dedicatd",
                     "owner": { "email": "nobody", "passwordHash": "hunter2" } }),
        )
        .await
        .refusal(422, "request.invalid");
    for field in [
        "name",
        "slug",
        "environment",
        "isolation",
        "`email`",
        "`passwordHash`",
    ] {
        assert!(sentence.contains(field), "{sentence}");
    }
    assert!(!sentence.contains("hunter2"));
    let sentence = caller
        .post("/v1/tenants", &json!({}))
        .await
        .refusal(422, "request.invalid");
    for field in ["name", "environment", "isolation", "`email`"] {
        assert!(sentence.contains(field), "{sentence}");
    }

    let broken = caller.request("POST", "/v1/tenants").body("{\"name\": ");
    Caller::send(broken).await.refusal(400, "request.invalid");
    let typed = caller.post("/v1/tenants", &json!({ "name": 5 })).await;
    typed.refusal(400, "request.invalid");
    let huge = caller
        .request("POST", "/v1/tenants")
        .body(format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 21)));
    Caller::send(huge).await.refusal(413, "request.too_large");
}

#[tokio::test]
async fn hostile_names_are_kept_as_they_are() {
    let server = Server::start();
    let caller = Caller::new(&server);
    for name in [
        "'; DROP TABLE tenants; --",
        "\"quoted\" \\ $(rm -rf /) `id` %s {} \u{202e}",
        "🦀 Açaí & Filhos ../../etc/passwd",
        &"é".repeat(256),
    ] {
        let slug = slug("hostile");
        let mut body = spec(&slug);
        body["name"] = json!(name);
        body["metadata"] = json!({ name.chars().take(100).collect::<String>(): name });
        let made = caller.post("/v1/tenants", &body).await.expect(201);
        let view = caller
            .get(&format!("/v1/tenants/{}", made["id"].as_str().unwrap()))
            .await
            .expect(200);
        assert_eq!(view["name"], name);
        assert_eq!(view["metadata"], body["metadata"]);
        let found = caller
            .get(&format!("/v1/admin/tenants?search={slug}"))
            .await
            .expect(200);
        assert_eq!(found["items"][0]["name"], name);
    }
    for path in [
        "/v1/tenants/'%20OR%201=1/associations/tracer/connections",
        "/v1/tenants/..%2F..%2Fetc/associations/tracer/connections",
        "/v1/tenants/%00/associations/%F0%9F%A6%80/connections",
        "/v1/tenants/7b0e1c5a9f3d4b62a1c8e4d7f0936b21/associations/'--/connections",
    ] {
        assert_eq!(caller.get(path).await.status, 404, "{path}");
    }
    let search = "/v1/admin/tenants?search=%25'%20OR%20''='";
    assert_eq!(caller.get(search).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_wrong_key_is_401_and_never_403() {
    let server = Server::start();
    let caller = Caller::new(&server);
    for path in [
        "/v1/tenants/active?service=tracer",
        "/v1/tenants/7b0e1c5a9f3d4b62a1c8e4d7f0936b21",
        "/v1/tenants/7b0e1c5a9f3d4b62a1c8e4d7f0936b21/associations/tracer/connections",
        "/v1/admin/tenants",
        "/v1/admin/info",
    ] {
        let wrong = caller.with_key("not the key").get(path).await;
        wrong.refusal(401, "auth.invalid_key");
        assert_eq!(keys(&wrong.expect(401)), BTreeSet::from(["code", "error"]));
        caller
            .with_key("")
            .get(path)
            .await
            .refusal(401, "auth.missing_key");
    }
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(caller.with_key("").get(open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn an_association_is_provisioned_and_its_connections_work() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let slug = slug("aurora");
    let tenant = caller.post("/v1/tenants", &spec(&slug)).await.expect(201);
    let id = tenant["id"].as_str().unwrap();
    caller
        .connections(&tenant, "ledger")
        .await
        .refusal(404, "association.not_found");

    let route = format!("/v1/tenants/{id}/associations/ledger");
    let body = json!({ "isolationMode": "dedicated", "maxOpenConns": 12, "maxIdleConns": 3 });
    let made = caller.post(&route, &body).await.expect(201);
    assert_eq!(
        made,
        json!({ "serviceName": "ledger", "status": "provisioning" })
    );
    let again = caller.post(&route, &body).await;
    assert_eq!(
        again.refusal(409, "association.exists"),
        "association already exists"
    );
    let operations = caller
        .get(&format!("/v1/admin/operations?tenant={slug}"))
        .await
        .expect(200);
    assert_eq!(operations["items"].as_array().unwrap().len(), 1);
    let operation = caller
        .ends(operations["items"][0]["id"].as_str().unwrap())
        .await;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");

    let answer = caller.connections(&tenant, "ledger").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let config = answer.expect(200);
    assert_eq!(config["id"], id);
    assert_eq!(config["tenantSlug"], slug);
    assert_eq!(config["tenantName"], "Banco Aurora");
    assert_eq!(config["service"], "ledger");
    assert_eq!(config["status"], "active");
    assert_eq!(config["isolationMode"], "isolated");
    let settings = json!({ "maxOpenConns": 12, "maxIdleConns": 3 });
    assert_eq!(config["connectionSettings"], settings);
    for time in ["createdAt", "updatedAt"] {
        let text = config[time].as_str().unwrap();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
    }
    assert_eq!(
        keys(&config["databases"]),
        BTreeSet::from(["onboarding", "transaction"])
    );
    for module in ["onboarding", "transaction"] {
        let postgresql = &config["databases"][module]["postgresql"];
        assert!(postgresql["port"].is_u64(), "{postgresql}");
        assert!(postgresql.get("schema").is_none());
        let session = log_in(postgresql).await.unwrap();
        session
            .batch_execute("CREATE TABLE t (x int)")
            .await
            .unwrap();
    }

    // Every spelling of the id is understood, and so is a base URL that ends in a slash.
    let dashed = uuid::Uuid::parse_str(id).unwrap().hyphenated().to_string();
    for spelling in [dashed.clone(), dashed.to_uppercase(), id.to_uppercase()] {
        let path = format!("/v1/tenants/{spelling}/associations/ledger/connections");
        assert_eq!(caller.get(&path).await.expect(200), config);
        assert_eq!(caller.get(&format!("/{path}")).await.expect(200), config);
    }

    for (path, status, code) in [
        (
            format!("/v1/tenants/{id}/associations/ledgr"),
            404,
            "service.unknown",
        ),
        (
            "/v1/tenants/00000000000000000000000000000000/associations/ledger".to_owned(),
            404,
            "tenant.not_found",
        ),
    ] {
        let sentence = caller.post(&path, &body).await.refusal(status, code);
        if code == "service.unknown" {
            assert!(sentence.contains("tracer"), "{sentence}");
        }
    }
    let wrong = json!({ "isolationMode": "exclusive" });
    caller
        .post(&format!("/v1/tenants/{id}/associations/tracer"), &wrong)
        .await
        .refusal(422, "request.invalid");
    let schema = json!({ "isolationMode": "schema" });
    let sentence = caller
        .post(&format!("/v1/tenants/{id}/associations/tracer"), &schema)
        .await
        .refusal(422, "isolation.unsupported");
    assert!(sentence.contains("public"), "{sentence}");
}

#[tokio::test]
async fn suspended_pairs_answer_403_with_a_status_and_come_back() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer", "ledger"], "database").await;
    let id = tenant["id"].as_str().unwrap();
    let active = |service: &'static str| {
        let caller = caller.clone();
        async move {
            caller
                .get(&format!("/v1/tenants/active?service={service}"))
                .await
                .expect(200)
        }
    };
    let row = json!({ "id": id, "name": tenant["name"], "status": "active" });
    assert_eq!(active("tracer").await, json!([row]));
    assert_eq!(active("reporter").await, json!([]));
    caller
        .get("/v1/tenants/active")
        .await
        .refusal(400, "request.invalid");
    let before = caller.connections(&tenant, "tracer").await.expect(200);

    let suspend = format!("/v1/tenants/{id}/associations/tracer/suspend");
    assert_eq!(
        caller.put(&suspend).await.expect(200),
        json!({ "serviceName": "tracer", "status": "suspended" })
    );
    assert_eq!(
        caller
            .put(&suspend)
            .await
            .refusal(409, "association.suspended"),
        "already suspended"
    );
    let refused = caller.connections(&tenant, "tracer").await;
    refused.refusal(403, "association.suspended");
    assert_eq!(refused.expect(403)["status"], "suspended");
    assert_eq!(caller.connections(&tenant, "ledger").await.status, 200);
    assert_eq!(active("tracer").await, json!([]));
    assert_eq!(active("ledger").await, json!([row]));

    // The contract can only reactivate whole tenants: that undoes it.
    let reactivate = format!("/v1/tenants/{id}/reactivate");
    assert_eq!(
        caller.put(&reactivate).await.expect(200),
        json!({ "id": id, "slug": tenant["slug"], "status": "active" })
    );
    assert_eq!(
        caller
            .put(&reactivate)
            .await
            .refusal(409, "tenant.not_suspended"),
        "not suspended"
    );
    let after = caller.connections(&tenant, "tracer").await.expect(200);
    assert_eq!(after["databases"], before["databases"]);
    assert_eq!(active("tracer").await, json!([row]));

    caller
        .post(&path(&tenant, "/suspend"), &json!({}))
        .await
        .expect(200);
    for service in ["tracer", "ledger"] {
        let refused = caller.connections(&tenant, service).await.expect(403);
        assert_eq!(refused["status"], "suspended");
        assert_eq!(active(service).await, json!([]));
    }
    caller
        .connections(&tenant, "reporter")
        .await
        .refusal(404, "association.not_found");
    let view = caller.get(&format!("/v1/tenants/{id}")).await.expect(200);
    assert_eq!(view["status"], "suspended");
    assert_eq!(caller.put(&reactivate).await.status, 200);
    assert_eq!(caller.connections(&tenant, "ledger").await.status, 200);

    let nobody = "/v1/tenants/00000000000000000000000000000000/reactivate";
    caller.put(nobody).await.refusal(404, "tenant.not_found");
    let unassociated = format!("/v1/tenants/{id}/associations/matcher/suspend");
    caller
        .put(&unassociated)
        .await
        .refusal(404, "association.not_found");
}

#[tokio::test]
async fn long_lists_of_active_tenants_are_complete() {
    let server = Server::start();
    let caller = Caller::new(&server);
    // A service without PostgreSQL needs no database, so many tenants are cheap.
    let made = futures_util::stream::iter(0..1100)
        .map(|_| {
            let caller = caller.clone();
            async move {
                let slug = slug("many");
                let body = json!({ "name": slug, "environment": "staging",
                                   "isolationMode": "database", "services": ["reporter"] });
                let change = caller.post("/v1/admin/tenants", &body).await.expect(201);
                caller.succeeds(&change).await;
                change["tenant"]["id"].as_str().unwrap().to_owned()
            }
        })
        .buffer_unordered(32);
    let expected: BTreeSet<String> = made.collect().await;
    let rows = caller
        .get("/v1/tenants/active?service=reporter")
        .await
        .expect(200);
    let ids: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), expected.len());
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn principals_are_refused_in_a_way_that_is_no_word_about_the_tenant() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "schema").await;
    let path =
        |id: &str, service: &str| format!("/v1/tenants/{id}/associations/{service}/principals");
    let id = tenant["id"].as_str().unwrap();
    let body = json!({ "name": slug("hub"), "role": "service", "services": ["tracer"] });
    let made = caller.post("/v1/admin/keys", &body).await.expect(201);
    let product = caller.with_key(made["key"].as_str().unwrap());
    for caller in [&caller, &product] {
        let refused = caller.get(&path(id, "tracer")).await;
        let said = refused.refusal(405, "principals.not_served");
        assert!(said.contains("Access Manager"), "{said}");
        assert_eq!(refused.headers["allow"], "");
        // With a status products would close the tenant's pools.
        assert!(refused.expect(405).get("status").is_none());
        let nobody = "00000000000040008000000000000000";
        caller
            .get(&path(nobody, "tracer"))
            .await
            .refusal(404, "tenant.not_found");
    }
    product
        .get(&path(id, "reporter"))
        .await
        .refusal(403, "auth.out_of_scope");
    Caller::at(&server.url())
        .get(&path(id, "tracer"))
        .await
        .refusal(401, "auth.missing_key");
}

#[tokio::test]
async fn what_is_not_there_is_told_in_our_own_shape() {
    let server = Server::start();
    let caller = Caller::new(&server);
    caller
        .get("/v1/nothing")
        .await
        .refusal(404, "route.not_found");
    let wrong = caller.put("/v1/tenants").await;
    wrong.refusal(405, "route.method");
    assert_eq!(wrong.headers["allow"], "POST");

    let given = caller
        .request("GET", "/healthz")
        .header("X-Request-Id", "order-66.a_b");
    assert_eq!(
        Caller::send(given).await.headers["x-request-id"],
        "order-66.a_b"
    );
    let hostile = caller
        .request("GET", "/healthz")
        .header("X-Request-Id", "<script>");
    let id = Caller::send(hostile).await.headers["x-request-id"].clone();
    assert!(uuid::Uuid::parse_str(id.to_str().unwrap()).is_ok());
}
