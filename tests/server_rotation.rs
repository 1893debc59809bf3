//! Rotation: at every instant a credential that a product may hold is valid.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::server_kit::{Caller, Proxy, kinds, listen, log_in, path};
use crate::support::{Postgres, Redis, Server, cluster};

fn login(config: &Value) -> &Value {
    &config["databases"]["tracer"]["postgresql"]
}

async fn retirement(caller: &Caller, tenant: &Value, number: usize) -> Value {
    let slug = tenant["slug"].as_str().unwrap();
    let page = caller
        .get(&format!("/v1/admin/operations?tenant={slug}"))
        .await
        .expect(200);
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|operation| operation["kind"] == "retire")
        .nth_back(number)
        .unwrap_or_else(|| panic!("{page:#}"))
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_connects_all_the_time_sees_no_failure() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;
    let stop = Arc::new(AtomicBool::new(false));
    let client = {
        let (caller, tenant, stop) = (caller.clone(), tenant.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut held = caller.connections(&tenant, "tracer").await.expect(200);
            let mut logins = 0;
            while !stop.load(Ordering::Relaxed) {
                // Fetches anew now and then, as products do; logs in with what it holds.
                if logins % 5 == 0 {
                    held = caller.connections(&tenant, "tracer").await.expect(200);
                }
                let session = log_in(login(&held)).await.unwrap();
                session
                    .batch_execute("CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t VALUES (1)")
                    .await
                    .unwrap();
                logins += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            logins
        })
    };
    let mut users = Vec::new();
    for round in 0..4 {
        let change = caller
            .post(&path(&tenant, "/rotate"), &json!({ "graceSeconds": 1 }))
            .await
            .expect(200);
        caller.succeeds(&change).await;
        let config = caller.connections(&tenant, "tracer").await.expect(200);
        users.push(login(&config)["username"].clone());
        let retire = retirement(&caller, &tenant, round).await;
        let ended = caller.ends(retire["id"].as_str().unwrap()).await;
        assert_eq!(ended["state"], "succeeded", "{ended:#}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(client.await.unwrap() > 20);
    assert_eq!(users[0], users[2]);
    assert_eq!(users[1], users[3]);
    assert_ne!(users[0], users[1]);
    let record = caller.get(&path(&tenant, "")).await.expect(200);
    assert_eq!(record["services"][0]["credentialsVersion"], 5);
    assert_eq!(record["services"][0]["databases"][0]["login"], users[3]);
}

#[tokio::test]
async fn both_logins_work_until_the_old_one_is_retired_and_then_only_the_new_one() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let mut heard = listen(Redis::shared().endpoint(), "tenant-events:production:").await;
    let tenant = caller.tenant(&["tracer"], "database").await;
    heard.about(&tenant, 2).await;
    let old = caller.connections(&tenant, "tracer").await.expect(200);

    let change = caller
        .post(&path(&tenant, "/rotate"), &json!({ "graceSeconds": 3600 }))
        .await
        .expect(200);
    assert_eq!(
        change["plan"]["events"],
        json!(["tenant.credentials.rotated"])
    );
    caller.succeeds(&change).await;
    let events = heard.about(&tenant, 1).await;
    assert_eq!(kinds(&events), ["tenant.credentials.rotated tracer"]);
    let payload = &events[0]["payload"];
    assert_eq!(payload["credential_type"], "postgresql");
    let place = format!(
        "tenants/production/{}/tracer/postgres",
        tenant["id"].as_str().unwrap()
    );
    assert_eq!(payload["new_secret_path"], place);

    let new = caller.connections(&tenant, "tracer").await.expect(200);
    assert_ne!(login(&old)["username"], login(&new)["username"]);
    assert_ne!(login(&old)["password"], login(&new)["password"]);
    log_in(login(&old)).await.unwrap();
    log_in(login(&new)).await.unwrap();
    let retire = retirement(&caller, &tenant, 0).await;
    assert_eq!(retire["state"], "pending");
    assert!(retire["error"].as_str().unwrap().contains("stays valid"));

    // The login that another rotation needs is still in use.
    for (action, body) in [
        ("/rotate", json!({ "graceSeconds": 5 })),
        ("/provision", json!({})),
    ] {
        let sentence = caller
            .post(&path(&tenant, action), &body)
            .await
            .refusal(409, "rotation.in_progress");
        assert!(
            sentence.contains(retire["id"].as_str().unwrap()),
            "{sentence}"
        );
    }
    log_in(login(&old)).await.unwrap();

    // Without grace it is an emergency: the old login goes at once, then the one in use.
    let change = caller
        .post(&path(&tenant, "/rotate"), &json!({ "graceSeconds": 0 }))
        .await
        .expect(200);
    caller.succeeds(&change).await;
    let ended = caller.ends(retire["id"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "succeeded");
    let last = retirement(&caller, &tenant, 1).await;
    caller.ends(last["id"].as_str().unwrap()).await;
    let newest = caller.connections(&tenant, "tracer").await.expect(200);
    assert_eq!(login(&newest)["username"], login(&old)["username"]);
    log_in(login(&newest)).await.unwrap();
    assert!(log_in(login(&old)).await.is_err());
    assert!(log_in(login(&new)).await.is_err());
}

#[tokio::test]
async fn the_old_login_stays_while_products_were_not_told_and_across_restarts() {
    let redis = Redis::shared().endpoint();
    let way = Proxy::to(redis.port);
    let folder = tempfile::tempdir().unwrap();
    let mut endpoint = redis.clone();
    endpoint.port = way.port();
    let settings = Server::settings(
        folder.path(),
        vec![cluster("main", Postgres::shared())],
        Some(endpoint),
    );
    let server = Server::serve(settings.clone());
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;
    let old = caller.connections(&tenant, "tracer").await.expect(200);
    way.cut();
    let change = caller
        .post(&path(&tenant, "/rotate"), &json!({ "graceSeconds": 1 }))
        .await
        .expect(200);
    caller.succeeds(&change).await;
    let retire = retirement(&caller, &tenant, 0).await;
    let id = retire["id"].as_str().unwrap();
    caller
        .operation_until(id, |operation| {
            operation["error"]
                .as_str()
                .is_some_and(|error| error.contains("products were told"))
        })
        .await;
    log_in(login(&old)).await.unwrap();
    server.stop();

    let server = Server::serve(settings);
    let caller = Caller::new(&server);
    log_in(login(&old)).await.unwrap();
    way.open();
    let ended = caller.ends(id).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    assert!(log_in(login(&old)).await.is_err());
    let new = caller.connections(&tenant, "tracer").await.expect(200);
    log_in(login(&new)).await.unwrap();
    server.stop();
}
