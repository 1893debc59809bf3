//! The check that the Tenant Manager runs by itself: products over HTTP, a baseline, an authority of
//! one's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse as _, Response};
use lerianctl::isolation::http::Recipe;
use lerianctl::isolation::mongodb::{self, Address};
use lerianctl::isolation::rabbitmq::Management;
use lerianctl::server::{IsolationSettings, ProductProbes};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::middleware_kit::Stage;
use super::sample_kit::clean;
use super::server_isolation::{figure, place, private, settings, sql, until, verdict};
use super::server_kit::{Caller, PATIENCE, slug};
use super::support::{Mongo, Rabbit, Sandbox, Server, cluster};

async fn report(caller: &Caller) -> Value {
    let stored = caller.get("/v1/admin/isolation/report").await.expect(200);
    serde_json::from_str(stored["report"].as_str().unwrap()).unwrap()
}

fn came_to(report: &Value, id: &str) -> String {
    let mut checks = report["checks"].as_array().unwrap().iter();
    let check = checks.find(|check| check["check"] == id).unwrap();
    check["verdict"].as_str().unwrap().to_owned()
}

/// Serves the sample; what it does not have for the first tenant it takes from the second while
/// `leaks` is set.
async fn product(
    clean: Router,
    tokens: [String; 2],
    leaks: Arc<AtomicBool>,
    listener: std::net::TcpListener,
) {
    let front = Router::new().fallback(move |request: Request| {
        let (clean, tokens, leaks) = (clean.clone(), tokens.clone(), Arc::clone(&leaks));
        async move {
            let bearer = |token: &str| HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            let first = request.headers().get(AUTHORIZATION) == Some(&bearer(&tokens[0]));
            let mut again = Request::get(request.uri().clone())
                .body(axum::body::Body::empty())
                .unwrap();
            let read = request.method() == axum::http::Method::GET;
            let response: Response = clean.clone().oneshot(request).await.unwrap();
            if !(first && read && response.status() == 404 && leaks.load(Ordering::SeqCst)) {
                return response;
            }
            again
                .headers_mut()
                .insert(AUTHORIZATION, bearer(&tokens[1]));
            clean.oneshot(again).await.unwrap()
        }
    });
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    axum::serve(listener, front).await.unwrap();
}

/// Passes requests on to the Tenant Manager; while `open` is set, it answers anybody.
async fn gateway(manager: String, open: Arc<AtomicBool>, listener: std::net::TcpListener) {
    let client = reqwest::Client::new();
    let front = Router::new().fallback(move |request: Request| {
        let (client, open) = (client.clone(), Arc::clone(&open));
        let url = format!("{manager}{}", request.uri());
        let key = request.headers().get("x-api-key").cloned();
        async move {
            if open.load(Ordering::SeqCst) {
                return axum::Json(json!({ "databases": {} })).into_response();
            }
            let mut passed = client.get(url);
            if let Some(key) = key {
                passed = passed.header("x-api-key", key);
            }
            let answer = passed.send().await.unwrap();
            let status = axum::http::StatusCode::from_u16(answer.status().as_u16()).unwrap();
            (status, answer.bytes().await.unwrap()).into_response()
        }
    });
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    axum::serve(listener, front).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_mixes_up_tenants_shows_by_itself() {
    let postgres = tokio::task::spawn_blocking(private).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    // Where products reach the Tenant Manager, which is not known before it starts.
    let front = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = format!("http://{}", front.local_addr().unwrap());
    let probes = ProductProbes {
        products: vec![(Recipe::built_in("sample").unwrap(), base.parse().unwrap())],
        tokens: [file("a.token"), file("b.token")],
        variables: [BTreeMap::new(), BTreeMap::new()],
        suspended: None,
        writes: true,
        requests: 100,
        token_key: Some(file("key.pem")),
        manager: Some((gate.parse().unwrap(), file("service.key"))),
        databases: vec![postgres.endpoint()],
    };
    let stage = Stage::start_with(|server| {
        server.clusters = vec![cluster("main", &postgres)];
        server.event_redis = None;
        server.isolation = Some(Box::new(IsolationSettings {
            products: Some(probes),
            ..settings(Duration::from_secs(2))
        }));
    });
    let caller = &stage.caller;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        tokens.push(stage.token(&caller.tenant(&["ledger", "tracer"], "database").await));
    }
    let open = Arc::new(AtomicBool::new(false));
    let passing = tokio::spawn(gateway(stage.server.url(), Arc::clone(&open), front));
    std::fs::write(file("key.pem"), stage.key.to_pem().expose()).unwrap();
    let body = json!({ "name": slug("ledger"), "role": "service", "services": ["ledger"] });
    let made = caller.post("/v1/admin/keys", &body).await.expect(201);
    let service_key = made["key"].as_str().unwrap().to_owned();
    std::fs::write(file("service.key"), &service_key).unwrap();
    // Without a token nobody can look, and that is no verdict.
    let _ = verdict(caller, "error").await;
    let status = caller.get("/v1/admin/isolation").await.expect(200);
    let reason = status["failed"]["reason"].as_str().unwrap();
    assert!(reason.contains("a.token"), "{reason}");
    let tokens: [String; 2] = tokens.try_into().unwrap();
    let leaks = Arc::new(AtomicBool::new(false));
    let serving = tokio::spawn(product(
        clean(&stage),
        tokens.clone(),
        Arc::clone(&leaks),
        listener,
    ));
    // Both of one tenant: nobody is kept apart.
    for name in ["a.token", "b.token"] {
        std::fs::write(file(name), &tokens[0]).unwrap();
    }
    let limit = std::time::Instant::now() + PATIENCE;
    loop {
        let status = caller.get("/v1/admin/isolation").await.expect(200);
        let reason = status["failed"]["reason"].as_str().unwrap();
        if reason.contains("of the same tenant") {
            break;
        }
        assert!(std::time::Instant::now() < limit, "{reason}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::write(file("b.token"), format!("{}\n", tokens[1])).unwrap();
    let done = |text: &str| figure(text, "runs_total{result=\"report\"}") > Some(0.0);
    let _ = until(caller, "probed", done).await;
    let first = report(caller).await;
    assert_eq!(first["findings"].as_array().unwrap().len(), 0, "{first:#}");
    // With the signing key, the product's key and its database, what takes them is tried as well.
    for id in [
        "CF-15", "JW-06", "JW-10", "JW-16", "JW-19", "JW-24", "JW-25", "PG-207",
    ] {
        assert_eq!(came_to(&first, id), "holds", "{id}: {first:#}");
    }
    for secret in [&tokens[0], &service_key] {
        assert!(!first.to_string().contains(secret.as_str()));
    }

    // A gateway that asks nobody for a key.
    open.store(true, Ordering::SeqCst);
    let _ = verdict(caller, "refuted").await;
    assert_eq!(came_to(&report(caller).await, "JW-24"), "refuted");
    open.store(false, Ordering::SeqCst);
    let _ = until(caller, "closed again", |text| {
        figure(text, "verdict{verdict=\"refuted\"}") == Some(0.0)
    })
    .await;

    leaks.store(true, Ordering::SeqCst);
    let _ = verdict(caller, "refuted").await;
    assert_eq!(came_to(&report(caller).await, "JW-10"), "refuted");

    // A token that is over proves nothing.
    leaks.store(false, Ordering::SeqCst);
    std::fs::write(file("a.token"), format!("{}x", tokens[0])).unwrap();
    let _ = verdict(caller, "unproven").await;
    assert_eq!(came_to(&report(caller).await, "JW-10"), "unproven");
    serving.abort();
    passing.abort();
    stage.server.stop();
}

#[tokio::test]
async fn what_the_baseline_has_does_not_fail_and_what_is_new_does() {
    let postgres = tokio::task::spawn_blocking(private).await.unwrap();
    let admin = postgres.endpoint();
    let folder = tempfile::tempdir().unwrap();
    let mut how = Server::settings(folder.path(), vec![cluster("main", &postgres)], None);
    how.isolation = Some(Box::new(settings(Duration::from_secs(2))));
    let server = Server::serve(how.clone());
    let caller = Caller::new(&server);
    let mut places = Vec::new();
    for _ in 0..3 {
        let tenant = caller.tenant(&["tracer"], "database").await;
        places.push(place(&caller, &tenant).await);
    }
    let grant = |from: usize, to: usize| {
        format!(
            "GRANT CONNECT ON DATABASE \"{}\" TO \"{}\"",
            places[to].0, places[from].1
        )
    };
    sql(&admin, &grant(0, 1)).await;
    let text = verdict(&caller, "refuted").await;
    assert!(figure(&text, "new_findings") > Some(0.0));
    let known = folder.path().join("known.json");
    let stored = caller.get("/v1/admin/isolation/report").await.expect(200);
    std::fs::write(&known, stored["report"].as_str().unwrap()).unwrap();
    server.stop();

    how.isolation = Some(Box::new(IsolationSettings {
        baseline: Some(known.clone()),
        ..settings(Duration::from_secs(2))
    }));
    let server = Server::serve(how);
    let caller = Caller::new(&server);
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", server.api_key().expose());
    let fresh = ["isolation", "show", "--fresh"];
    let shown = room.run(fresh).success();
    assert!(shown.stdout.contains("ISOLATION REFUTED"), "{shown}");
    let text = verdict(&caller, "refuted").await;
    assert_eq!(figure(&text, "new_findings"), Some(0.0));
    sql(&admin, &grant(2, 1)).await;
    let _ = room.run(fresh).exits(3);
    let new = |text: &str| figure(text, "new_findings") > Some(0.0);
    let _ = until(&caller, "found something new", new).await;
    // What is no report is no baseline.
    std::fs::write(&known, "{}").unwrap();
    let _ = verdict(&caller, "error").await;
    server.stop();
}

#[tokio::test]
async fn a_broker_with_an_authority_of_its_own_is_looked_at() {
    let Some(rabbit) = tokio::task::spawn_blocking(Rabbit::private).await.unwrap() else {
        return;
    };
    let postgres = tokio::task::spawn_blocking(private).await.unwrap();
    let ca = include_str!("certificates/authority.pem");
    let url = rabbit.secure_url();
    for (ca, seen) in [(Some(ca), true), (None, false)] {
        let server = Server::start_with(|server| {
            server.clusters = vec![cluster("main", &postgres)];
            server.event_redis = None;
            server.isolation = Some(Box::new(IsolationSettings {
                brokers: vec![Management::parse_url(&url, ca).unwrap()],
                rabbitmq_ca: ca.map(str::to_owned),
                ..settings(Duration::from_secs(2))
            }));
        });
        let caller = Caller::new(&server);
        let ended = |text: &str| figure(text, "runs_total{result=\"report\"}") > Some(0.0);
        let _ = until(&caller, "looked", ended).await;
        let word = came_to(&report(&caller).await, "RQ-05");
        assert_eq!(word != "error", seen, "{word}");
        server.stop();
    }
}

#[tokio::test]
async fn a_mongodb_is_looked_at() {
    let start = || Mongo::private(false);
    let Some(mongo) = tokio::task::spawn_blocking(start).await.unwrap() else {
        return;
    };
    let postgres = tokio::task::spawn_blocking(private).await.unwrap();
    let reader = Address::parse(&mongo.url()).unwrap();
    let server = Server::start_with(|server| {
        server.clusters = vec![cluster("main", &postgres)];
        server.event_redis = None;
        server.isolation = Some(Box::new(IsolationSettings {
            mongodb: mongodb::Options {
                readers: vec![reader],
                ..mongodb::Options::default()
            },
            ..settings(Duration::from_secs(2))
        }));
    });
    let caller = Caller::new(&server);
    let ended = |text: &str| figure(text, "runs_total{result=\"report\"}") > Some(0.0);
    let _ = until(&caller, "looked", ended).await;
    let report = report(&caller).await;
    assert_eq!(came_to(&report, "MG-01"), "holds");
    assert_eq!(came_to(&report, "MG-09"), "skipped");
    server.stop();
}

#[test]
fn flags_that_belong_together_are_told_at_the_start() {
    let room = Sandbox::new();
    let token = |claims: &str| {
        let part = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
        };
        format!(
            "{}.{}.{}",
            part("{\"alg\":\"HS256\"}"),
            part(claims),
            part("s")
        )
    };
    room.write("a.token", token("{\"tenantId\":\"a\"}"));
    room.write("b.token", token("{\"tenantId\":\"b\"}"));
    room.write("nobody.token", token("{}"));
    room.write("empty.pem", "");
    room.write("broker.url", "http://admin:hunter2@127.0.0.1:1");
    room.write("master.key", "0123456789abcdef0123456789abcdef");
    room.write("api.key", "0123456789abcdef0123456789abcdef");
    room.write("postgres.url", "postgres://a:hunter2@127.0.0.1:1/postgres");
    let words = "server start --listen 127.0.0.1:0 --registry r.db --master-key-file master.key \
                 --service-key-file api.key --postgres-url-file postgres.url --isolation-every 1h";
    let tokens = "--isolation-token-a-file a.token --isolation-token-b-file";
    for (more, told) in [
        (
            "--isolation-recipe sample".to_owned(),
            "--isolation-token-a-file",
        ),
        ("--isolation-probe-writes".to_owned(), "--isolation-recipe"),
        (
            format!("--isolation-recipe sample {tokens} a.token"),
            "isolation.same_tenant",
        ),
        (
            format!("--isolation-recipe sample {tokens} nobody.token"),
            "isolation.token",
        ),
        (
            format!("--isolation-recipe nothing {tokens} b.token"),
            "isolation.recipe",
        ),
        (
            format!(
                "--isolation-recipe sample --isolation-product-url http://h.example {tokens} b.token"
            ),
            "isolation.product_url",
        ),
        (
            format!(
                "--isolation-recipe sample {tokens} b.token --isolation-token-key-file a.token"
            ),
            "token.key_unusable",
        ),
        (
            format!(
                "--isolation-recipe sample {tokens} b.token --isolation-service-key-file api.key"
            ),
            "--isolation-server",
        ),
        (
            format!(
                "--isolation-recipe sample {tokens} b.token --isolation-service-key-file api.key \
                 --isolation-server http://h.example"
            ),
            "isolation.product_url",
        ),
        (
            format!(
                "--isolation-recipe sample {tokens} b.token --isolation-product-database-url-file postgres.url"
            ),
            "--isolation-probe-writes",
        ),
        (
            "--isolation-baseline a.token".to_owned(),
            "isolation.report",
        ),
        (
            "--isolation-exhaustive --isolation-derangements 3".to_owned(),
            "cannot be used with",
        ),
        (
            "--isolation-rabbitmq-url-file broker.url --isolation-rabbitmq-ca-file empty.pem"
                .to_owned(),
            "isolation.certificates",
        ),
    ] {
        let line: Vec<&str> = words.split_whitespace().chain(more.split(' ')).collect();
        let output = room.run(&line);
        assert!(
            [2, 5].contains(&output.status.unwrap_or_default()),
            "{output}"
        );
        assert!(output.stderr.contains(told), "{more}: {output}");
        assert!(!output.stderr.contains("hunter2"), "{output}");
    }
}
