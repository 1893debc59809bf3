//! Changes through the extensions: plans, idempotency, lists.

use serde_json::{Value, json};

use crate::server_kit::{Caller, log_in, path, slug};
use crate::support::Server;

fn spec(slug: &str) -> Value {
    json!({ "name": format!("Tenant {slug}"), "slug": slug, "environment": "production",
            "isolationMode": "database", "services": ["ledger"] })
}

fn with(mut value: Value, more: &Value) -> Value {
    for (key, entry) in more.as_object().unwrap() {
        value[key] = entry.clone();
    }
    value
}

#[tokio::test]
async fn the_plan_that_is_shown_is_the_plan_that_is_carried_out() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let slug = slug("planned");
    let dry = with(spec(&slug), &json!({ "dryRun": true }));
    let shown = caller.post("/v1/admin/tenants", &dry).await.expect(200);
    assert_eq!(shown["changed"], true);
    assert_eq!(shown["dryRun"], true);
    assert!(shown.get("tenant").is_none());
    assert!(shown.get("operation").is_none());
    let again = caller.post("/v1/admin/tenants", &dry).await.expect(200);
    assert_eq!(again["plan"], shown["plan"]);
    let plan = &shown["plan"];
    assert_eq!(
        plan["events"],
        json!(["tenant.created", "tenant.service.associated"])
    );
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("crm-api/mongodb"), "{warnings}");
    let text = plan["steps"].to_string();
    assert!(text.contains("PASSWORD 'SCRAM-SHA-256$…'"), "{text}");
    assert!(!text.contains("SCRAM-SHA-256$4096"), "{text}");
    caller
        .get(&format!("/v1/admin/tenants/{slug}"))
        .await
        .refusal(404, "tenant.not_found");

    let wrong = with(spec(&slug), &json!({ "expectPlan": "sha256:0000" }));
    caller
        .post("/v1/admin/tenants", &wrong)
        .await
        .refusal(409, "plan.changed");
    caller
        .get(&format!("/v1/admin/tenants/{slug}"))
        .await
        .refusal(404, "tenant.not_found");

    let agreed = with(spec(&slug), &json!({ "expectPlan": plan["hash"] }));
    let made = caller.post("/v1/admin/tenants", &agreed).await.expect(201);
    assert_eq!(made["plan"], *plan);
    let operation = caller.succeeds(&made).await;
    assert!(
        operation["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["state"] == "succeeded" && step["detail"] != ""),
        "{operation:#}"
    );

    // Every other change can be looked at first, and looking changes nothing.
    let tenant = &made["tenant"];
    let before = caller.get(&path(tenant, "")).await.expect(200);
    for (action, body) in [
        ("/suspend", json!({})),
        ("/rotate", json!({ "graceSeconds": 5 })),
        ("/purge", json!({})),
        ("/provision", json!({})),
        ("/invalidate", json!({ "reason": "trial" })),
        ("/services/ledger/suspend", json!({})),
        ("/services/ledger/remove", json!({ "dropData": true })),
        ("/services/matcher", json!({})),
    ] {
        let dry = with(body, &json!({ "dryRun": true }));
        let shown = caller.post(&path(tenant, action), &dry).await.expect(200);
        assert_eq!(shown["dryRun"], true, "{action}");
        assert_eq!(shown["changed"], true, "{action}");
        assert_ne!(shown["plan"]["steps"], json!([]), "{action}");
        let again = caller.post(&path(tenant, action), &dry).await.expect(200);
        assert_eq!(again["plan"]["hash"], shown["plan"]["hash"], "{action}");
        let wrong = with(dry, &json!({ "dryRun": false, "expectPlan": "sha256:0" }));
        caller
            .post(&path(tenant, action), &wrong)
            .await
            .refusal(409, "plan.changed");
    }
    assert_eq!(caller.get(&path(tenant, "")).await.expect(200), before);
}

#[tokio::test]
async fn the_same_create_changes_nothing_and_another_is_refused() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let slug = slug("same");
    let made = caller
        .post("/v1/admin/tenants", &spec(&slug))
        .await
        .expect(201);
    assert_eq!(made["changed"], true);
    assert_eq!(made["tenant"]["services"][0]["status"], "provisioning");
    assert_eq!(
        made["tenant"]["services"][0]["notProvisioned"],
        json!([
            "crm-api/mongodb",
            "ledger/rabbitmq",
            "onboarding/mongodb",
            "plugin-fees/mongodb",
            "transaction/mongodb"
        ])
    );
    // While it is being made, the operation that makes it is named.
    let during = caller
        .post("/v1/admin/tenants", &spec(&slug))
        .await
        .expect(200);
    assert_eq!(during["changed"], false);
    if let Some(operation) = during.get("operation") {
        assert_eq!(operation["id"], made["operation"]["id"]);
    }
    caller.succeeds(&made).await;
    let again = caller
        .post("/v1/admin/tenants", &spec(&slug))
        .await
        .expect(200);
    assert_eq!(again["changed"], false);
    assert!(again.get("operation").is_none());
    assert_eq!(again["plan"]["steps"], json!([]));
    assert_eq!(again["tenant"]["services"][0]["status"], "active");

    let other = with(
        spec(&slug),
        &json!({ "name": "Other", "services": ["ledger", "tracer"], "isolationMode": "schema", "force": true }),
    );
    let sentence = caller
        .post("/v1/admin/tenants", &other)
        .await
        .refusal(409, "tenant.conflict");
    for field in ["name", "isolationMode", "services (it lacks tracer)"] {
        assert!(sentence.contains(field), "{sentence}");
    }
    let twin = with(
        spec(&format!("{slug}-twin")),
        &json!({ "id": made["tenant"]["id"] }),
    );
    caller
        .post("/v1/admin/tenants", &twin)
        .await
        .refusal(409, "tenant.conflict");
}

#[tokio::test]
async fn a_request_that_is_repeated_with_its_key_gets_the_same_answer() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let slug = slug("repeat");
    let send = |key: &'static str, body: Value| {
        let request = caller
            .request("POST", "/v1/admin/tenants")
            .header("Idempotency-Key", key)
            .json(&body);
        Caller::send(request)
    };
    let first = send("key-1", spec(&slug)).await.expect(201);
    let repeated = send("key-1", spec(&slug)).await.expect(201);
    assert_eq!(repeated, first);
    let fresh = send("key-2", spec(&slug)).await.expect(200);
    assert_eq!(fresh["changed"], false);
    let other = with(spec(&slug), &json!({ "name": "Other" }));
    send("key-1", other)
        .await
        .refusal(422, "request.key_reused");
    // Many at once: one is carried out, all are told the same.
    let body = spec(&format!("{slug}-many"));
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(tokio::spawn(send("key-3", body.clone())));
    }
    for answer in answers {
        let answer = answer.await.unwrap().expect(201);
        assert_eq!(answer["changed"], true);
    }
    let page = caller
        .get(&format!("/v1/admin/operations?tenant={slug}-many"))
        .await
        .expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let slug = slug("refused");
    let unknown = with(
        spec(&slug),
        &json!({ "services": ["ledgr", "../x"], "environment": "" }),
    );
    let sentence = caller
        .post("/v1/admin/tenants", &unknown)
        .await
        .refusal(422, "service.unknown");
    for part in ["ledgr", "../x", "known services", "environment"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    let schema = with(
        spec(&slug),
        &json!({ "services": ["tracer", "matcher"], "isolationMode": "schema" }),
    );
    let sentence = caller
        .post("/v1/admin/tenants", &schema)
        .await
        .refusal(422, "isolation.unsupported");
    for part in ["`tracer`", "`matcher`", "000010"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    let forced = with(schema, &json!({ "force": true, "dryRun": true }));
    let shown = caller.post("/v1/admin/tenants", &forced).await.expect(200);
    assert!(shown["plan"]["warnings"].to_string().contains("forced"));
    let local = with(
        spec(&slug),
        &json!({ "environment": "development", "dryRun": true }),
    );
    let shown = caller.post("/v1/admin/tenants", &local).await.expect(200);
    assert!(
        shown["plan"]["warnings"]
            .to_string()
            .contains("do not listen for events")
    );
    // A word that is not understood might have been the one that makes it harmless.
    let typo = with(spec(&slug), &json!({ "dryrun": true }));
    caller
        .post("/v1/admin/tenants", &typo)
        .await
        .refusal(400, "request.invalid");
    caller
        .get(&format!("/v1/admin/tenants/{slug}"))
        .await
        .refusal(404, "tenant.not_found");
}

#[tokio::test]
async fn tenants_are_listed_page_by_page_and_found() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let mut slugs = Vec::new();
    for number in 0..7 {
        let slug = slug("page");
        let body = json!({
            "name": format!("Número {number}"), "slug": slug, "isolationMode": "database",
            "environment": if number < 3 { "staging" } else { "production" },
            "owner": { "email": format!("Owner{number}@Example.com") },
        });
        caller.post("/v1/admin/tenants", &body).await.expect(201);
        slugs.push(slug);
    }
    slugs.sort();
    let found = |query: String| {
        let caller = caller.clone();
        async move {
            let page = caller
                .get(&format!("/v1/admin/tenants?{query}"))
                .await
                .expect(200);
            let slugs: Vec<String> = page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tenant| tenant["slug"].as_str().unwrap().to_owned())
                .collect();
            (slugs, page["nextCursor"].as_str().map(str::to_owned))
        }
    };
    let (mut all, mut cursor) = (Vec::new(), String::new());
    let mut pages = 0;
    loop {
        let (page, next) = found(format!("limit=3{cursor}")).await;
        assert!(page.len() <= 3);
        all.extend(page);
        pages += 1;
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((all, pages), (slugs.clone(), 3));
    assert_eq!(found("environment=staging".into()).await.0.len(), 3);
    assert_eq!(found("search=N%C3%BAMERO%205".into()).await.0.len(), 1);
    assert_eq!(found("search=owner2%40example".into()).await.0.len(), 1);
    assert_eq!(found("service=ledger".into()).await.0.len(), 0);
    assert_eq!(found("status=suspended".into()).await.0.len(), 0);
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=%21",
        "status=gone",
    ] {
        caller
            .get(&format!("/v1/admin/tenants?{bad}"))
            .await
            .refusal(400, "request.invalid");
    }
    caller
        .get("/v1/admin/tenants?serach=x")
        .await
        .refusal(400, "request.invalid");
}

#[tokio::test]
async fn fields_are_updated_and_pool_settings_reach_role_and_product() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;
    let body = json!({ "name": "New name", "metadata": { "plan": "gold", "old": "" },
                       "connectionSettings": { "maxOpenConns": 7, "maxIdleConns": 2, "statementTimeout": "45s" } });
    let change = caller.patch(&path(&tenant, ""), &body).await.expect(200);
    assert_eq!(change["changed"], true);
    assert_eq!(
        change["plan"]["events"],
        json!(["tenant.updated", "tenant.connections.updated"])
    );
    caller.succeeds(&change).await;
    let config = caller.connections(&tenant, "tracer").await.expect(200);
    assert_eq!(config["tenantName"], "New name");
    let settings = json!({ "maxOpenConns": 7, "maxIdleConns": 2, "statementTimeout": "45s" });
    assert_eq!(config["connectionSettings"], settings);
    let session = log_in(&config["databases"]["tracer"]["postgresql"]).await;
    let row = session
        .unwrap()
        .query_one("SHOW statement_timeout", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "45s");
    let again = caller.patch(&path(&tenant, ""), &body).await.expect(200);
    assert_eq!(again["changed"], false);
    let wrong = json!({ "connectionSettings": { "statementTimeout": "soon" }, "name": "" });
    let sentence = caller
        .patch(&path(&tenant, ""), &wrong)
        .await
        .refusal(422, "request.invalid");
    assert!(sentence.contains("statementTimeout") && sentence.contains("name"));
}
