//! The connections endpoint, asked over kept-alive connections: a constant axum handler that
//! answers the same bytes, and the real server (key, request id, figures, sealed credentials), in
//! turn, in one run, by the same callers. `cargo bench --bench connections`.
//!
//! Callers and server share the processors, so the ratio is what counts.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and stops at the first surprise"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use lerianctl::contract::catalogue::Catalogue;
use lerianctl::devstack::Programs;
use lerianctl::devstack::temporary;
use lerianctl::provision::Cluster;
use lerianctl::secret::Secret;
use lerianctl::server::{Limits, RegistryPlace, ServerSettings, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CALLERS: usize = 32;
const TENANTS: usize = 20;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const GOAL: f64 = 0.5;

/// What the callers send, in turn.
type Requests = Arc<Vec<Vec<u8>>>;

/// Asks over and over until the time is up; returns requests per second.
async fn load(address: SocketAddr, requests: &Requests) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (requests, count) = (Arc::clone(requests), Arc::clone(&count));
        callers.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 16 * 1024];
            let mut at = caller;
            while begun.elapsed() < ROUND {
                stream
                    .write_all(&requests[at % requests.len()])
                    .await
                    .unwrap();
                read_answer(&mut stream, &mut buffer).await;
                count.fetch_add(1, Ordering::Relaxed);
                at += 1;
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let count = count.load(Ordering::Relaxed) as f64;
    count / begun.elapsed().as_secs_f64()
}

/// Reads one answer, which must be 200 and have a length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "the server hung up");
        filled += read;
        let text = &buffer[..filled];
        let Some(head) = text.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        assert!(text.starts_with(b"HTTP/1.1 200"), "not 200");
        let lines = std::str::from_utf8(&text[..head]).unwrap();
        let length: usize = lines
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        if filled == head + 4 + length {
            return;
        }
    }
}

fn request(path: &str, key: &Secret) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nX-API-Key: {}\r\n\r\n",
        key.expose()
    )
    .into_bytes()
}

async fn call(key: &Secret, request: reqwest::RequestBuilder) -> Value {
    let answer = request.header("X-API-Key", key.expose()).send().await;
    let answer = answer.unwrap().error_for_status().unwrap();
    answer.json().await.unwrap()
}

/// Creates tenants; returns the paths of their connections and one answer.
async fn tenants(url: &str, key: &Secret) -> (Vec<String>, String) {
    let client = reqwest::Client::new();
    let mut paths = Vec::new();
    let mut body = String::new();
    for number in 0..TENANTS {
        let spec = json!({ "name": format!("Tenant {number}"), "environment": "production",
                           "isolationMode": "database", "services": ["tracer"] });
        let create = client.post(format!("{url}/v1/admin/tenants")).json(&spec);
        let change = call(key, create).await;
        let operation = change["operation"]["id"].as_str().unwrap();
        let progress = client
            .get(format!("{url}/v1/admin/operations/{operation}/progress"))
            .header("X-API-Key", key.expose());
        let lines = progress.send().await.unwrap().text().await.unwrap();
        assert!(lines.contains("\"succeeded\""), "{lines}");
        let id = change["tenant"]["id"].as_str().unwrap();
        let path = format!("/v1/tenants/{id}/associations/tracer/connections");
        body = call(key, client.get(format!("{url}{path}")))
            .await
            .to_string();
        paths.push(path);
    }
    (paths, body)
}

async fn constant(body: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = move || {
        let body = body.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], body) }
    };
    let router = Router::new().route(
        "/v1/tenants/{id}/associations/{service}/connections",
        get(handler),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    lerianctl::link::tls::install();
    #[expect(
        clippy::disallowed_methods,
        reason = "a bench has no environment of its own"
    )]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = Programs::find(&path, None).unwrap();
    let parent = std::env::temp_dir();
    let postgres = temporary::postgres(&programs.postgres, &parent)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = Secret::generate();
    let settings = ServerSettings {
        registry: RegistryPlace::Sqlite(folder.path().join("registry.sqlite")),
        master_key: Secret::generate().into(),
        previous_master_key: None,
        api_keys: vec![key.clone()],
        clusters: vec![Cluster {
            name: "main".to_owned(),
            admin: postgres.endpoint(),
            public_host: "127.0.0.1".to_owned(),
            public_port: postgres.port(),
            public_sslmode: "disable".to_owned(),
        }],
        event_redis: None,
        catalogue: Catalogue::default(),
        development_jwks: None,
        rotation_grace: Duration::from_mins(5),
        jobs: 4,
        drain: Duration::from_secs(5),
        access: lerianctl::server::AccessSettings::default(),
        limits: Limits::default(),
        tls: None,
        ready: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, settings, async {
        let _ = stopped.await;
    }));
    let (paths, body) = tenants(&format!("http://{ours}"), &key).await;
    println!(
        "{CALLERS} callers, {TENANTS} tenants, {} bytes of JSON, {ROUNDS} rounds of {ROUND:?}",
        body.len()
    );
    let requests: Requests = Arc::new(paths.iter().map(|path| request(path, &key)).collect());
    let bare = constant(body).await;
    let (mut floor, mut real) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // In turn, and not always the same first.
        if round % 2 == 0 {
            floor.push(load(bare, &requests).await);
            real.push(load(ours, &requests).await);
        } else {
            real.push(load(ours, &requests).await);
            floor.push(load(bare, &requests).await);
        }
    }
    let (floor, real) = (median(&mut floor), median(&mut real));
    let ratio = real / floor;
    println!("constant handler   {floor:>9.0} requests/s");
    println!("connections        {real:>9.0} requests/s");
    let verdict = if ratio >= GOAL { "reached" } else { "MISSED" };
    println!("ratio              {ratio:>9.2}   goal {GOAL}: {verdict}");
    drop(stop);
    server.await.unwrap().unwrap();
    assert!(ratio >= GOAL, "the goal was missed");
}
