//! Change of the master key, and of the key under it, while everything goes on.

use std::time::Instant;

use lerianctl::secret::Secret;
use serde_json::{Value, json};

use crate::server_kit::{Caller, PATIENCE, Vanishing, slug};
use crate::support::{Postgres, Sandbox, Server, block_on, cluster};

const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// Creates tenants without services, each with the password hash of an owner.
async fn owners(caller: &Caller, count: usize) {
    for _ in 0..count {
        let name = slug("owner");
        let body = json!({
            "name": name, "slug": name, "environment": "staging", "isolationMode": "database",
            "owner": { "email": "ada@example.com", "passwordHash": HASH, "emailVerified": true },
        });
        caller.post("/v1/admin/tenants", &body).await.expect(201);
    }
}

async fn status(caller: &Caller) -> Value {
    caller.get("/v1/admin/rekey").await.expect(200)
}

/// Waits until everything is sealed with the active key.
async fn finished(caller: &Caller) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(caller).await;
        if status["running"] == false && status["remaining"] == 0 {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn active(status: &Value) -> Value {
    let keys = status["keys"].as_array().unwrap();
    let records = |key: &&Value| key["purpose"] == "records" && key["active"] == true;
    keys.iter().find(records).unwrap().clone()
}

#[test]
fn a_new_key_seals_everything_while_it_is_in_use() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let (tenant, before, first) = block_on({
        let caller = caller.clone();
        async move {
            let tenant = caller.tenant(&["ledger"], "database").await;
            let before = caller.connections(&tenant, "ledger").await.expect(200);
            owners(&caller, 3).await;
            (tenant, before, active(&finished(&caller).await))
        }
    });
    let count = first["sealed"].as_u64().unwrap();
    assert_eq!(count, 3 + 2, "owners, and the modules of ledger");

    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", server.api_key().expose());
    let planned = room.run(["server", "rekey", "--dry-run", "-o", "json"]);
    let planned = planned.success().json();
    assert_eq!(planned["plan"]["steps"][0]["action"], "make data key");
    let again = block_on({
        let caller = caller.clone();
        async move { status(&caller).await }
    });
    assert_eq!(active(&again), first, "a dry run changes nothing");
    // Without a terminal it needs consent.
    let _ = room.run(["server", "rekey"]).exits(10);

    let done = room.run(["server", "rekey", "--yes", "-o", "json"]);
    let done = done.success().json();
    let second = active(&done["status"]);
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["sealed"], count);
    assert_eq!(done["status"]["remaining"], 0);

    block_on(async move {
        let moved = json!({ "expectPlan": "sha256:other" });
        let refused = caller.post("/v1/admin/rekey", &moved).await;
        refused.refusal(409, "plan.changed");
        let after = caller.connections(&tenant, "ledger").await.expect(200);
        assert_eq!(after, before);
        // What is stored names the new key alone, and is opened after a restart.
        let file = rusqlite::Connection::open(server.registry()).unwrap();
        let old: i64 = file
            .query_row(
                "SELECT count(*) FROM credentials WHERE substr(sealed, 4, 8) = ?1",
                [first["id"].as_str().unwrap()],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(old, 0);
        drop(file);
        tokio::task::spawn_blocking(move || {
            let server = server.restart();
            let caller = Caller::new(&server);
            let after = block_on(async move { caller.connections(&tenant, "ledger").await });
            assert_eq!(after.expect(200), before);
        })
        .await
        .unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_goes_on_at_its_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let clusters = vec![cluster("main", Postgres::shared())];
    let settings = Server::settings(folder.path(), clusters, None);
    let server = Vanishing::start(&settings);
    let caller = server.caller(&settings);
    caller.readiness_becomes(200).await;
    owners(&caller, 250).await;
    let first = active(&finished(&caller).await);
    let change = caller.post("/v1/admin/rekey", &json!({})).await.expect(200);
    assert_eq!(change["changed"], true, "{change:#}");
    assert_eq!(change["status"]["remaining"], 250);
    // The same again makes no further key while the first is not done; either way none is lost.
    server.vanish();

    let server = Vanishing::start(&settings);
    let caller = server.caller(&settings);
    caller.readiness_becomes(200).await;
    let done = finished(&caller).await;
    let second = active(&done);
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["sealed"], 250);
    assert_eq!(done["unreadable"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_changed_with_both_at_hand() {
    let folder = tempfile::tempdir().unwrap();
    let clusters = vec![cluster("main", Postgres::shared())];
    let mut settings = Server::settings(folder.path(), clusters, None);
    let old = settings.master_key.clone();
    let server = Server::serve(settings.clone());
    let tenant = Caller::new(&server).tenant(&["tracer"], "schema").await;
    let before = Caller::new(&server).connections(&tenant, "tracer").await;
    let before = before.expect(200);
    let first = status(&Caller::new(&server)).await["masterKey"].clone();
    server.stop();

    settings.previous_master_key = Some(old);
    settings.master_key = Secret::generate().into();
    let server = Server::serve(settings.clone());
    let caller = Caller::new(&server);
    let now = status(&caller).await;
    assert_ne!(now["masterKey"], first);
    for key in now["keys"].as_array().unwrap() {
        assert_eq!(key["masterKey"], now["masterKey"], "{key}");
    }
    assert_eq!(
        caller.connections(&tenant, "tracer").await.expect(200),
        before
    );
    server.stop();

    // From now on the new one is enough, and API keys are the same.
    settings.previous_master_key = None;
    settings.api_keys = settings.api_keys[..1].to_vec();
    let server = Server::serve(settings);
    let after = Caller::new(&server).connections(&tenant, "tracer").await;
    assert_eq!(after.expect(200), before);
}
