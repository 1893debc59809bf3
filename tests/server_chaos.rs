//! Two servers on one PostgreSQL, killed at random, while PostgreSQL restarts and Redis is away:
//! what was acknowledged is there, events are told in order, and nothing is stuck.
//!
//! `LERIANCTL_TEST_CHAOS_SECONDS=300` makes it last five minutes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::server_kit::{Caller, Proxy, listen, log_in};
use crate::support::{Postgres, Redis, ServerProcess};

/// How long it lasts in `make test`.
const SECONDS: u64 = 20;
const WORKERS: usize = 4;
/// Tenants that a worker makes, each with databases of its own.
const TENANTS: usize = 6;
/// Rotations are told in bursts of forty: more would only make the end wait.
const ROTATIONS: usize = 24;
const PATIENCE: Duration = Duration::from_mins(3);

#[expect(clippy::disallowed_methods, reason = "a test has no flags")]
fn duration() -> Duration {
    let seconds = std::env::var("LERIANCTL_TEST_CHAOS_SECONDS").ok();
    Duration::from_secs(seconds.map_or(SECONDS, |text| text.parse().expect("seconds")))
}

/// What all workers share.
struct Stage {
    servers: Vec<Caller>,
    client: reqwest::Client,
    over: AtomicBool,
    rotations: AtomicUsize,
}

/// An answer: a status and a body, or nothing, which says nothing.
type Heard = Option<(u16, Value)>;

impl Stage {
    fn any(&self) -> usize {
        rand::rng().random_range(0..self.servers.len())
    }

    async fn ask(&self, server: usize, method: &str, path: &str, body: Option<&Value>) -> Heard {
        let caller = &self.servers[server];
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("{}{path}", caller.url()))
            .header("X-API-Key", caller.key().expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        assert_ne!(status, 500, "{text}");
        if status >= 500 {
            return None;
        }
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Asks any server again and again until one answers.
    async fn insist(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value, usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let server = self.any();
            if let Some((status, body)) = self.ask(server, method, path, body).await {
                return (status, body, server);
            }
            assert!(Instant::now() < deadline, "nobody answers {method} {path}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A tenant and what was acknowledged of it.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    slug: String,
    suspended: bool,
}

/// What the connections endpoint of `server` says of a tenant, if it says anything.
async fn handed_out(stage: &Stage, server: usize, id: &str) -> Heard {
    let path = format!("/v1/tenants/{id}/associations/tracer/connections");
    stage.ask(server, "GET", &path, None).await
}

async fn work(stage: Arc<Stage>, worker: usize) -> Vec<Known> {
    let mut tenants: Vec<Known> = Vec::new();
    while !stage.over.load(Ordering::Relaxed) || tenants.is_empty() {
        let dice = rand::rng().random_range(0..10);
        if tenants.len() < TENANTS && (tenants.is_empty() || dice < 3) {
            let slug = format!("chaos-{worker}-{}", tenants.len());
            let body = json!({ "name": slug, "slug": slug, "environment": "production",
                               "isolationMode": if dice == 0 { "schema" } else { "database" },
                               "services": ["tracer"], "force": true });
            let (status, change, _) = stage.insist("POST", "/v1/admin/tenants", Some(&body)).await;
            assert!(matches!(status, 200 | 201), "{status}: {change:#}");
            tenants.push(Known {
                id: change["tenant"]["id"].as_str().unwrap().to_owned(),
                slug,
                suspended: false,
            });
            continue;
        }
        let at = rand::rng().random_range(0..tenants.len());
        let tenant = &mut tenants[at];
        let path = |action: &str| format!("/v1/admin/tenants/{}/{action}", tenant.slug);
        if dice == 3 && !tenant.suspended {
            if stage.rotations.fetch_add(1, Ordering::Relaxed) < ROTATIONS {
                let body = json!({ "graceSeconds": 1 });
                let (status, change, _) = stage.insist("POST", &path("rotate"), Some(&body)).await;
                // What is under way, or not provisioned yet, is refused.
                assert!(matches!(status, 200 | 409), "{status}: {change:#}");
            }
            continue;
        }
        let action = if tenant.suspended {
            "reactivate"
        } else {
            "suspend"
        };
        let (status, change, server) = stage.insist("POST", &path(action), Some(&json!({}))).await;
        assert_eq!(status, 200, "{action}: {change:#}");
        tenant.suspended = !tenant.suspended;
        // What one server acknowledged holds on all of them, from that moment on.
        for other in (0..stage.servers.len()).filter(|other| *other != server) {
            if let Some((status, body)) = handed_out(&stage, other, &tenant.id).await {
                let good = if tenant.suspended {
                    status == 403
                } else {
                    matches!(status, 200 | 404)
                };
                assert!(good, "after {action}: {status} {body:#}");
            }
        }
    }
    tenants
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_die_lose_nothing_and_tell_everything_in_order() {
    let mut postgres = Postgres::private();
    let redis = Redis::private();
    let way = Proxy::to(redis.port());
    let mut through = redis.endpoint();
    through.port = way.port();
    let mut heard = listen(redis.endpoint(), "tenant-events:production:").await;
    let endpoint = postgres.endpoint();
    let processes =
        tokio::task::spawn_blocking(move || ServerProcess::replicas(2, &endpoint, Some(&through)));
    let processes = processes.await.unwrap();
    let servers: Vec<Caller> = processes
        .iter()
        .map(|process| Caller::at(process.url()).with_key(process.api_key().expose()))
        .collect();
    let processes: Vec<Arc<Mutex<ServerProcess>>> = processes
        .into_iter()
        .map(|process| Arc::new(Mutex::new(process)))
        .collect();
    let stage = Arc::new(Stage {
        servers,
        client: reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap(),
        over: AtomicBool::new(false),
        rotations: AtomicUsize::new(0),
    });
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(work(Arc::clone(&stage), worker)))
        .collect();

    let end = Instant::now() + duration();
    let mut misfortune = 0;
    while Instant::now() < end {
        let pause = rand::rng().random_range(100..1500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match misfortune % 6 {
            // Gone for a while, as long as a twentieth of everything.
            2 => {
                way.cut();
                tokio::time::sleep(duration() / 20).await;
                way.open();
            }
            5 => {
                postgres.restart().await.unwrap();
            }
            other => {
                let process = Arc::clone(&processes[other % 2]);
                let restarted = tokio::task::spawn_blocking(move || {
                    let mut process = process.lock().unwrap();
                    process.kill();
                    process.restart_here();
                });
                restarted.await.unwrap();
            }
        }
        misfortune += 1;
    }
    stage.over.store(true, Ordering::Relaxed);
    let mut tenants = Vec::new();
    for worker in workers {
        tenants.extend(worker.await.unwrap());
    }
    assert!(misfortune >= 6, "only {misfortune} misfortunes");

    // No operation is stuck, and none failed.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut open = 0;
        for state in ["pending", "running", "failed"] {
            let path = format!("/v1/admin/operations?state={state}&limit=1000");
            let (_, page, _) = stage.insist("GET", &path, None).await;
            let items = page["items"].as_array().unwrap();
            assert!(state != "failed" || items.is_empty(), "{items:#?}");
            open += items.len();
        }
        if open == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{open} operations are stuck");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // Everything acknowledged is there, on both.
    for tenant in &tenants {
        for server in 0..stage.servers.len() {
            let (status, config) = handed_out(&stage, server, &tenant.id).await.unwrap();
            if tenant.suspended {
                assert_eq!(status, 403, "{tenant:?}: {config:#}");
                continue;
            }
            assert_eq!(status, 200, "{tenant:?}: {config:#}");
            let who = log_in(&config["databases"]["tracer"]["postgresql"]).await;
            assert!(who.is_ok(), "{tenant:?}: {:?}", who.err());
        }
    }

    // Every event was told, in the order of the outbox within its tenant.
    let mut registry = postgres.endpoint();
    registry.search_path = Some("lerianctl".into());
    let session = registry.connect().await.unwrap();
    let rows = session
        .query(
            "SELECT tenant_id, event_id FROM outbox WHERE channel IS NOT NULL
             ORDER BY tenant_id, tenant_sequence",
            &[],
        )
        .await
        .unwrap();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &rows {
        expected.entry(row.get(0)).or_default().push(row.get(1));
    }
    assert_eq!(expected.len(), tenants.len());
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut left, mut all) = (rows.len(), 0);
    while left > 0 {
        let event = heard.next().await;
        all += 1;
        let id = event["event_id"].as_str().unwrap().to_owned();
        if first.insert(id.clone(), all).is_none() {
            left -= 1;
            let tenant = event["tenant_id"].as_str().unwrap().to_owned();
            told.entry(tenant).or_default().push(id);
        }
    }
    for (tenant, expected) in &expected {
        let told = told.get(tenant).map_or(&[][..], Vec::as_slice);
        let first = told.iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!(first, None, "events of {tenant} were told in another order");
        assert_eq!(told.len(), expected.len());
    }
    for process in processes {
        let ended = tokio::task::spawn_blocking(move || process.lock().unwrap().terminate());
        assert_eq!(ended.await.unwrap(), Some(0));
    }
}
