//! The sample service: tenants keep what is theirs, in both isolation modes, in this process and as
//! `dev sample`.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::middleware_kit::Stage;
use crate::sample_kit::{Bearer, Service, clean};
use crate::server_kit::path;
use crate::support::stack::until;
use crate::support::{Redis, Sandbox};

fn code(body: &Value) -> &str {
    assert!(
        body["title"].is_string() && body["message"].is_string(),
        "{body}"
    );
    body["code"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizations_and_ledgers_are_their_tenants_own() {
    let stage = Stage::start();
    for mode in ["database", "schema"] {
        let (a, b) = (
            stage.caller.tenant(&["ledger"], mode).await,
            stage.caller.tenant(&["ledger"], mode).await,
        );
        let service = Service::serve(clean(&stage)).await;
        let a = Bearer::new(&service.url(), stage.token(&a));
        let b = Bearer::new(&service.url(), stage.token(&b));
        // Both at once, with tables that are not there yet.
        let (of_a, of_b) = tokio::join!(a.organization("Aurora"), b.organization("Brisa"));
        assert_eq!(
            a.ids("/v1/organizations").await,
            std::slice::from_ref(&of_a)
        );
        assert_eq!(
            b.ids("/v1/organizations").await,
            std::slice::from_ref(&of_b)
        );
        let ledgers = format!("/v1/organizations/{of_a}/ledgers");
        let body = json!({ "name": "main" });
        let made = a
            .send("POST", &ledgers, None, Some(body.clone()))
            .await
            .expect(201);
        assert_eq!(made["organizationId"], of_a.as_str());
        let ledger = format!("{ledgers}/{}", made["id"].as_str().unwrap());
        assert_eq!(a.get(&ledger).await.expect(200)["name"], "main");
        // To the other tenant it is as if there were nothing, whatever is asked.
        let nothing = format!("/v1/organizations/{}", uuid::Uuid::now_v7());
        for method in ["GET", "DELETE"] {
            let foreign = b
                .send(method, &format!("/v1/organizations/{of_a}"), None, None)
                .await;
            let random = b.send(method, &nothing, None, None).await;
            assert_eq!(foreign.expect(404), random.expect(404));
        }
        assert_eq!(code(&b.get(&ledger).await.expect(404)), "0037");
        assert_eq!(code(&b.get(&ledgers).await.expect(404)), "0038");
        assert_eq!(
            code(&b.send("POST", &ledgers, None, Some(body)).await.expect(404)),
            "0038"
        );
        assert_eq!(a.ids(&ledgers).await.len(), 1);
        let gone = a
            .send("DELETE", &format!("/v1/organizations/{of_a}"), None, None)
            .await;
        gone.expect(204);
        assert!(a.ids("/v1/organizations").await.is_empty());
        assert_eq!(b.ids("/v1/organizations").await, [of_b]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_is_done_once_per_tenant_and_key() {
    let stage = Stage::start();
    let (a, b) = (
        stage.caller.tenant(&["ledger"], "schema").await,
        stage.caller.tenant(&["ledger"], "schema").await,
    );
    let service = Service::serve(clean(&stage)).await;
    let a = Bearer::new(&service.url(), stage.token(&a));
    let b = Bearer::new(&service.url(), stage.token(&b));
    let create = async |who: &Bearer, name: &str, key: &str| {
        let body = json!({ "legalName": name });
        who.send("POST", "/v1/organizations", Some(key), Some(body))
            .await
    };
    let all = (0..6).map(|_| create(&a, "Aurora", "k"));
    let answers = futures_util::future::join_all(all).await;
    let ids: std::collections::BTreeSet<_> = answers
        .iter()
        .map(|answer| answer.expect(201)["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
    let replayed = answers
        .iter()
        .filter(|a| a.headers["x-idempotency-replayed"] == "true");
    assert_eq!(replayed.count(), 5);
    let foreign = create(&b, "Brisa", "k").await;
    assert_eq!(foreign.headers["x-idempotency-replayed"], "false");
    assert!(!ids.contains(&foreign.expect(201)["id"].to_string()));
    assert_eq!(code(&create(&a, "Other", "k").await.expect(409)), "0084");
    assert_eq!(a.ids("/v1/organizations").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_refusals_have_the_products_form() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let service = Service::serve(clean(&stage)).await;
    let a = Bearer::new(&service.url(), stage.token(&tenant));
    for number in 0..5 {
        a.organization(&format!("number {number}")).await;
    }
    let mut seen = Vec::new();
    let mut next = "/v1/organizations?limit=2".to_owned();
    loop {
        let page = a.get(&next).await.expect(200);
        let names = page["items"].as_array().unwrap().iter();
        seen.extend(names.map(|item| item["legalName"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        next = format!("/v1/organizations?limit=2&cursor={cursor}");
    }
    assert_eq!(
        seen,
        ["number 4", "number 3", "number 2", "number 1", "number 0"]
    );
    assert_eq!(a.ids("/v1/organizations?name=number%203").await.len(), 1);
    for (path, expected) in [
        ("/v1/organizations?limit=0", "0080"),
        ("/v1/organizations?limit=x'", "0080"),
        ("/v1/organizations?cursor=x", "0081"),
        ("/v1/organizations/1", "0065"),
    ] {
        assert_eq!(code(&a.get(path).await.expect(400)), expected, "{path}");
    }
    assert_eq!(code(&a.get("/v1/nothing").await.expect(404)), "0007");
    for (body, expected) in [(json!({}), "0047"), (json!({ "legalName": "\0" }), "0047")] {
        let refused = a.send("POST", "/v1/organizations", None, Some(body)).await;
        assert_eq!(code(&refused.expect(400)), expected);
    }
    let stranger = Bearer::new(&service.url(), "x");
    assert_eq!(
        code(&stranger.get("/v1/organizations").await.expect(401)),
        "INVALID_TOKEN"
    );
    assert_eq!(
        code(&stranger.get("/v1/nothing").await.expect(401)),
        "INVALID_TOKEN"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_serves_until_it_is_told_to_stop() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "schema").await;
    let redis = Redis::shared().endpoint();
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", stage.server.url())
        .with("LERIANCTL_API_KEY", stage.server.api_key().expose())
        .with("MULTI_TENANT_REDIS_HOST", &redis.host)
        .with("MULTI_TENANT_REDIS_PORT", redis.port.to_string())
        .with(
            "MULTI_TENANT_REDIS_PASSWORD",
            redis.password.as_ref().unwrap().expose(),
        )
        .with("ENV_NAME", "production");
    let arguments = ["dev", "sample", "--port", "0", "--ready-file", "ready.json"];
    let mut command = room.command(arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ready = room.home().join("ready.json");
    until("it is ready", async || {
        assert_eq!(child.try_wait().unwrap(), None, "it ended at once");
        ready.exists()
    })
    .await;
    let said: Value = serde_json::from_str(&room.read("ready.json")).unwrap();
    let a = Bearer::new(said["server"].as_str().unwrap(), stage.token(&tenant));
    let id = a.organization("Aurora").await;
    assert_eq!(a.ids("/v1/organizations").await, [id]);
    stage
        .caller
        .post(&path(&tenant, "/suspend"), &json!({}))
        .await
        .expect(200);
    until("the event arrives", async || {
        a.get("/v1/organizations").await.status == 403
    })
    .await;
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("ready\n"), "{text}");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        !log.contains(stage.token(&tenant).rsplit('.').next().unwrap()),
        "{log}"
    );
}
