//! Operations: progress, trouble that passes and trouble that stays, servers that vanish.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::server_kit::{Caller, PATIENCE, Proxy, Vanishing, kinds, listen, log_in, path, slug};
use crate::support::{Postgres, Redis, Server, cluster};

fn spec(slug: &str, service: &str) -> Value {
    json!({ "name": slug, "slug": slug, "environment": "production",
            "isolationMode": "database", "services": [service] })
}

#[tokio::test]
async fn progress_is_told_line_by_line_until_the_end() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let change = caller
        .post("/v1/admin/tenants", &spec(&slug("progress"), "ledger"))
        .await
        .expect(201);
    let id = change["operation"]["id"].as_str().unwrap();
    let response = caller
        .request("GET", &format!("/v1/admin/operations/{id}/progress"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part.unwrap());
    }
    let text = String::from_utf8(bytes).unwrap();
    let records: Vec<Value> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let done = |record: &Value| {
        record["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["state"] == "succeeded")
            .count()
    };
    assert!(
        records
            .windows(2)
            .all(|pair| done(&pair[0]) <= done(&pair[1]))
    );
    let last = records.last().unwrap();
    assert_eq!(last["state"], "succeeded");
    assert_eq!(last["attempts"], 1);
    assert_eq!(
        *last,
        caller
            .get(&format!("/v1/admin/operations/{id}"))
            .await
            .expect(200)
    );
    // Of one that has ended there is one line.
    let again = caller
        .get(&format!("/v1/admin/operations/{id}/progress"))
        .await;
    assert_eq!(again.text.lines().count(), 1);
    for path in [
        "/v1/admin/operations/nothing",
        "/v1/admin/operations/019a1f7e-0000-7000-8000-000000000001/progress",
    ] {
        caller.get(path).await.refusal(404, "operation.not_found");
    }
}

#[tokio::test]
async fn trouble_that_passes_is_shown_and_waited_out_and_nothing_half_made_is_handed_out() {
    let postgres = Postgres::shared();
    let way = Proxy::to(postgres.port());
    let server = Server::start_with(|settings| settings.clusters[0].admin.port = way.port());
    let caller = Caller::new(&server);
    way.cut();
    let change = caller
        .post("/v1/admin/tenants", &spec(&slug("trouble"), "tracer"))
        .await
        .expect(201);
    let tenant = &change["tenant"];
    let id = change["operation"]["id"].as_str().unwrap();
    let waiting = caller
        .operation_until(id, |operation| operation["attempts"].as_u64() > Some(1))
        .await;
    assert_eq!(waiting["state"], "running");
    let reason = waiting["error"].as_str().unwrap();
    assert!(!reason.is_empty());
    caller.with_key("").readiness_becomes(503).await;

    // 404 is what products take well: they ask again, and open no breaker.
    caller
        .connections(tenant, "tracer")
        .await
        .refusal(404, "association.provisioning");
    let rows = caller.get("/v1/tenants/active?service=tracer").await;
    assert_eq!(rows.expect(200), json!([]));
    // Suspended meanwhile, it stays so once it is provisioned.
    caller
        .post(&path(tenant, "/services/tracer/suspend"), &json!({}))
        .await
        .expect(200);
    let refused = caller.connections(tenant, "tracer").await.expect(403);
    assert_eq!(refused["status"], "suspended");

    way.open();
    caller.succeeds(&change).await;
    assert_eq!(caller.connections(tenant, "tracer").await.status, 403);
    caller
        .post(&path(tenant, "/services/tracer/reactivate"), &json!({}))
        .await
        .expect(200);
    let config = caller.connections(tenant, "tracer").await.expect(200);
    log_in(&config["databases"]["tracer"]["postgresql"])
        .await
        .unwrap();
}

#[tokio::test]
async fn trouble_that_stays_fails_and_is_taken_up_when_asked_again() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let slug = slug("foreign");
    let body = spec(&slug, "tracer");
    let mut dry = body.clone();
    dry["dryRun"] = json!(true);
    let shown = caller.post("/v1/admin/tenants", &dry).await.expect(200);
    // A database of that name that is not ours: neither adopted nor dropped.
    let made = shown["plan"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["action"].as_str().unwrap().contains("create database"))
        .unwrap_or_else(|| panic!("{shown:#}"))["target"]
        .as_str()
        .unwrap()
        .to_owned();
    let name = made.rsplit('/').next().unwrap();
    let admin = Postgres::shared().endpoint().connect().await.unwrap();
    admin
        .batch_execute(&format!("CREATE DATABASE \"{name}\""))
        .await
        .unwrap();

    let change = caller.post("/v1/admin/tenants", &body).await.expect(201);
    let id = change["operation"]["id"].as_str().unwrap();
    let failed = caller.ends(id).await;
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert!(
        failed["error"].as_str().unwrap().contains(name),
        "{failed:#}"
    );
    let states: BTreeSet<&str> = failed["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["state"].as_str().unwrap())
        .collect();
    assert!(
        states.contains("failed") && states.contains("pending"),
        "{failed:#}"
    );
    caller
        .connections(&change["tenant"], "tracer")
        .await
        .refusal(404, "association.provisioning");

    admin
        .batch_execute(&format!("DROP DATABASE \"{name}\""))
        .await
        .unwrap();
    let again = caller.post("/v1/admin/tenants", &body).await.expect(200);
    assert_eq!(again["changed"], true);
    caller.succeeds(&again).await;
    let config = caller
        .connections(&change["tenant"], "tracer")
        .await
        .expect(200);
    assert_eq!(
        config["databases"]["tracer"]["postgresql"]["database"],
        name
    );
    // Once more: all is there, and is only checked.
    let check = caller
        .post(&path(&change["tenant"], "/provision"), &json!({}))
        .await
        .expect(200);
    caller.succeeds(&check).await;
    let after = caller.connections(&change["tenant"], "tracer").await;
    assert_eq!(after.expect(200), config);
    let proof = caller
        .post(&path(&change["tenant"], "/verify"), &json!({}))
        .await
        .expect(200);
    let claims = proof["claims"].as_array().unwrap();
    assert!(!claims.is_empty());
    assert!(
        claims.iter().all(|claim| claim["holds"] == true),
        "{proof:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_vanishes_again_and_again_finishes_what_it_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let clusters = vec![cluster("main", Postgres::shared())];
    let redis = Redis::shared().endpoint();
    let mut settings = Server::settings(folder.path(), clusters, Some(redis.clone()));
    settings.jobs = 2;
    let mut heard = listen(redis, "tenant-events:production:").await;

    let mut accepted = Vec::new();
    for round in 0..12_u64 {
        let server = Vanishing::start(&settings);
        let caller = server.caller(&settings);
        let ask = async {
            let change = caller
                .post("/v1/admin/tenants", &spec(&slug("vanish"), "tracer"))
                .await;
            accepted.push(change.expect(201));
            // Different instants of the work that goes on.
            tokio::time::sleep(Duration::from_millis(7 * round)).await;
        };
        ask.await;
        server.vanish();
    }

    let server = Server::serve(settings);
    let caller = Caller::new(&server);
    for change in &accepted {
        let operation = caller.succeeds(change).await;
        assert!(operation["attempts"].as_u64() >= Some(1));
        let config = caller
            .connections(&change["tenant"], "tracer")
            .await
            .expect(200);
        log_in(&config["databases"]["tracer"]["postgresql"])
            .await
            .unwrap();
        caller
            .post(&path(&change["tenant"], "/suspend"), &json!({}))
            .await
            .expect(200);
    }
    // Every event was told; again if need be, never out of order.
    let mut left: Vec<&Value> = accepted.iter().map(|change| &change["tenant"]).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut seen: Vec<(String, String)> = Vec::new();
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{left:#?}");
        let event = heard.next().await;
        let id = event["tenant_id"].as_str().unwrap().to_owned();
        let kind = kinds(std::slice::from_ref(&event)).remove(0);
        if kind == "tenant.suspended" {
            left.retain(|tenant| tenant["id"] != id.as_str());
        }
        seen.push((id, kind));
    }
    for change in &accepted {
        let id = change["tenant"]["id"].as_str().unwrap();
        let mut kinds: Vec<&str> = seen
            .iter()
            .filter(|(tenant, _)| tenant == id)
            .map(|(_, kind)| kind.as_str())
            .collect();
        kinds.dedup();
        assert_eq!(
            kinds,
            [
                "tenant.created",
                "tenant.service.associated tracer",
                "tenant.service.suspended tracer",
                "tenant.suspended"
            ]
        );
    }
    server.stop();
}

#[tokio::test]
async fn operations_are_listed_newest_first_page_by_page() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let mut ids = Vec::new();
    let mut tenant = Value::Null;
    for _ in 0..5 {
        let change = caller
            .post("/v1/admin/tenants", &spec(&slug("listed"), "reporter"))
            .await
            .expect(201);
        caller.succeeds(&change).await;
        ids.insert(0, change["operation"]["id"].clone());
        tenant = change["tenant"].clone();
    }
    let (mut all, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = caller
            .get(&format!("/v1/admin/operations?{query}"))
            .await
            .expect(200);
        let items = page["items"].as_array().unwrap();
        all.extend(items.iter().map(|operation| operation["id"].clone()));
        match page["nextCursor"].as_str() {
            Some(cursor) => query = format!("limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(all, ids);
    let count = |query: String| {
        let caller = caller.clone();
        async move {
            let page = caller
                .get(&format!("/v1/admin/operations?{query}"))
                .await
                .expect(200);
            page["items"].as_array().unwrap().len()
        }
    };
    assert_eq!(count("state=succeeded".into()).await, 5);
    assert_eq!(count("state=failed".into()).await, 0);
    let slug = tenant["slug"].as_str().unwrap();
    assert_eq!(count(format!("tenant={slug}")).await, 1);
    caller
        .get("/v1/admin/operations?tenant=nobody")
        .await
        .refusal(404, "tenant.not_found");
    caller
        .get("/v1/admin/operations?state=done")
        .await
        .refusal(400, "request.invalid");
}
