//! Several servers on one registry: who asks after a change was acknowledged anywhere never sees
//! what was before it, and gets no answer rather than an old one. One that hangs does not stop the
//! others. So it is for busy servers too, which rely on a lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lerianctl::devstack::postgres;
use lerianctl::devstack::temporary::Temporary;
use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::server::RegistryPlace;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::server_kit::{Answer, Caller, PATIENCE, path};
use crate::support::{Postgres, Server, cluster, unique};

/// What becomes of PostgreSQL's answers on their way.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Free,
    Slow,
    Held,
    /// Held for the sessions by which a server hears of others and keeps its lease.
    Deaf,
}

/// A way to PostgreSQL on which its answers can be held back.
struct Way {
    port: u16,
    flow: watch::Sender<Flow>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let (flow, state) = watch::channel(Flow::Free);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    let to = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let (mut from, mut asking) = from.into_split();
                    let (mut to, mut asked) = to.into_split();
                    let hears = Arc::new(AtomicBool::new(false));
                    let hearing = Arc::clone(&hears);
                    let questions = tokio::spawn(async move {
                        let mut buffer = vec![0; 64 * 1024];
                        while let Ok(length @ 1..) = from.read(&mut buffer).await {
                            let text = String::from_utf8_lossy(&buffer[..length]);
                            if text.contains("take_read_lease(") || text.contains("LISTEN ") {
                                hearing.store(true, Ordering::Relaxed);
                            }
                            if asked.write_all(&buffer[..length]).await.is_err() {
                                break;
                            }
                        }
                    });
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = to.read(&mut buffer).await {
                        if *state.borrow() == Flow::Slow {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        let passes = |flow: &Flow| match flow {
                            Flow::Free | Flow::Slow => true,
                            Flow::Held => false,
                            Flow::Deaf => !hears.load(Ordering::Relaxed),
                        };
                        if state.wait_for(passes).await.is_err()
                            || asking.write_all(&buffer[..length]).await.is_err()
                        {
                            break;
                        }
                    }
                    questions.abort();
                });
            }
        });
        Self { port: own, flow }
    }

    fn slow(&self) {
        self.flow.send_replace(Flow::Slow);
    }

    fn hold(&self) {
        self.flow.send_replace(Flow::Held);
    }

    fn deafen(&self) {
        self.flow.send_replace(Flow::Deaf);
    }

    fn release(&self) {
        self.flow.send_replace(Flow::Free);
    }
}

/// Two servers; the second reaches the registry on a way that can be slow.
struct Stage {
    postgres: Temporary<postgres::Postgres>,
    way: Way,
    servers: [Server; 2],
    tenant: Value,
}

impl Stage {
    async fn new() -> Self {
        let postgres = tokio::task::spawn_blocking(Postgres::private)
            .await
            .unwrap();
        let way = Way::to(postgres.port()).await;
        let schema = unique("registry");
        let place = |endpoint: PostgresEndpoint| RegistryPlace::Postgres {
            endpoint,
            schema: schema.clone(),
        };
        let mut settings = Server::settings(
            std::path::Path::new(""),
            vec![cluster("main", &postgres)],
            None,
        );
        settings.registry = place(postgres.endpoint());
        let mut slow = settings.clone();
        slow.ready = Arc::default();
        slow.registry = place(PostgresEndpoint {
            port: way.port,
            ..postgres.endpoint()
        });
        let servers = [Server::serve(settings), Server::serve(slow)];
        let tenant = Caller::new(&servers[0]).tenant(&["tracer"], "schema").await;
        let stage = Self {
            postgres,
            way,
            servers,
            tenant,
        };
        stage.there().expect(200).await;
        stage
    }

    fn here(&self) -> Caller {
        Caller::new(&self.servers[0])
    }

    /// Asks the second server.
    fn there(&self) -> Asked {
        let (caller, tenant) = (Caller::new(&self.servers[1]), self.tenant.clone());
        Asked(tokio::spawn(async move {
            caller.connections(&tenant, "tracer").await
        }))
    }

    /// Waits until PostgreSQL has seen a question whether anything changed, asked after `since`
    /// by its own clock; returns what that clock says.
    async fn question(&self, since: Option<f64>) -> f64 {
        let session = self.postgres.endpoint().connect().await.unwrap();
        let sql = "SELECT extract(epoch FROM clock_timestamp())::float8,
                          coalesce(extract(epoch FROM max(query_start)), 0)::float8
                   FROM pg_stat_activity WHERE query LIKE '%access_keys_revision%UNION ALL%'
                       AND pid <> pg_backend_pid()";
        let begun = std::time::Instant::now();
        loop {
            let row = session.query_one(sql, &[]).await.unwrap();
            let (now, asked): (f64, f64) = (row.get(0), row.get(1));
            if since.is_none_or(|since| asked > since) {
                return now;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing was asked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Callers who ask the second server over and over.
struct Rush(Vec<tokio::task::AbortHandle>);

impl Rush {
    /// Begins, and waits until the server relies on a lease.
    async fn upon(stage: &Stage) -> Self {
        let begin = || {
            let (caller, tenant) = (Caller::new(&stage.servers[1]), stage.tenant.clone());
            let asking = async move {
                loop {
                    caller.connections(&tenant, "tracer").await;
                }
            };
            tokio::spawn(asking).abort_handle()
        };
        let rush = Self((0..32).map(|_| begin()).collect());
        stage.leased().await;
        rush
    }
}

impl Drop for Rush {
    fn drop(&mut self) {
        for caller in &self.0 {
            caller.abort();
        }
    }
}

impl Stage {
    /// Waits until the second server has taken another lease.
    async fn leased(&self) {
        let caller = Caller::new(&self.servers[1]);
        let taken = async || {
            let text = caller.get("/metrics").await.text;
            let name = "lerianctl_freshness_leases_total{result=\"taken\"} ";
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map_or(0.0, |count| count.parse::<f64>().unwrap())
        };
        let (begun, before) = (std::time::Instant::now(), taken().await);
        while taken().await <= before {
            assert!(begun.elapsed() < PATIENCE, "no lease was taken");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A request under way.
struct Asked(tokio::task::JoinHandle<Answer>);

impl Asked {
    async fn expect(self, status: u16) -> Value {
        self.0.await.unwrap().expect(status)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_after_a_change_does_not_join_a_question_from_before_it() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        let since = stage.question(None).await;
        stage.way.hold();
        let before = stage.there();
        // The question of that request is asked and answered; the answer is on its way.
        stage.question(Some(since)).await;
        let suspend = path(&stage.tenant, "/suspend");
        stage.here().post(&suspend, &json!({})).await.expect(200);
        let after = stage.there();
        // Time to arrive: were it too short, the answer would be right without any effort.
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.way.release();
        let refused = after.expect(403).await;
        assert_eq!(refused["status"], "suspended", "{refused:#}");
        // This one began before the change: either answer is true.
        let status = before.0.await.unwrap().status;
        assert!(matches!(status, 200 | 403), "{status}");
        let reactivate = path(&stage.tenant, "/reactivate");
        stage.here().post(&reactivate, &json!({})).await.expect(200);
        stage.there().expect(200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_nothing_that_is_remembered_is_given() {
    let stage = Stage::new().await;
    stage.way.hold();
    let refused = stage.there().expect(503).await;
    assert_eq!(refused["code"], "registry.unavailable", "{refused:#}");
    let suspend = path(&stage.tenant, "/suspend");
    stage.here().post(&suspend, &json!({})).await.expect(200);
    stage.there().expect(503).await;
    stage.way.release();
    // Sessions that were given up are opened again.
    let begun = std::time::Instant::now();
    loop {
        let status = stage.there().0.await.unwrap().status;
        if status == 403 {
            break;
        }
        assert_eq!(status, 503);
        assert!(begun.elapsed() < PATIENCE, "the registry is there again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_in_a_transaction_does_not_stop_the_others() {
    let stage = Stage::new().await;
    let session = stage.postgres.endpoint().connect().await.unwrap();
    // The lock of the audit log, which every change takes: here by an entry of this request.
    let locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
                      AND mode = 'ExclusiveLock' AND granted AND pid IN (SELECT pid
                          FROM pg_stat_activity WHERE state = 'idle in transaction')";
    stage.way.slow();
    stage.there().expect(200).await;
    let begun = std::time::Instant::now();
    while session
        .query_one(locked, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
        assert!(begun.elapsed() < PATIENCE, "nothing was written");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stage.way.hold();
    let suspend = path(&stage.tenant, "/suspend");
    stage.here().post(&suspend, &json!({})).await.expect(200);
    stage.way.release();
    let refused = stage.there().0.await.unwrap();
    assert!(matches!(refused.status, 403 | 503), "{}", refused.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_does_not_ask_and_never_gives_what_was_before_a_change() {
    let stage = Stage::new().await;
    let rush = Rush::upon(&stage).await;
    let (suspend, reactivate) = (
        path(&stage.tenant, "/suspend"),
        path(&stage.tenant, "/reactivate"),
    );
    for round in 0..12 {
        stage.here().post(&suspend, &json!({})).await.expect(200);
        let refused = stage.there().expect(403).await;
        assert_eq!(refused["status"], "suspended", "{refused:#}");
        if round % 3 == 0 {
            stage.leased().await;
        }
        stage.here().post(&reactivate, &json!({})).await.expect(200);
        stage.there().expect(200).await;
        if round % 2 == 0 {
            stage.leased().await;
        }
    }
    // A key that is withdrawn too.
    let body = json!({"name": "reader", "role": "read-only"});
    let made = stage.here().post("/v1/admin/keys", &body).await.expect(201);
    let reader = Caller::new(&stage.servers[1]).with_key(made["key"].as_str().unwrap());
    reader.get("/v1/admin/tenants").await.expect(200);
    stage.leased().await;
    reader.get("/v1/admin/tenants").await.expect(200);
    let id = made["record"]["id"].as_str().unwrap();
    let revoke = format!("/v1/admin/keys/{id}/revoke");
    stage.here().post(&revoke, &json!({})).await.expect(200);
    reader.get("/v1/admin/tenants").await.expect(401);
    drop(rush);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_that_is_cut_off_says_nothing_before_a_change_is_acknowledged() {
    let stage = Stage::new().await;
    for deaf in [true, false] {
        let rush = Rush::upon(&stage).await;
        // Either way it cannot hear that its lease is called in, nor give it back.
        if deaf {
            stage.way.deafen();
        } else {
            stage.way.hold();
        }
        let suspend = path(&stage.tenant, "/suspend");
        stage.here().post(&suspend, &json!({})).await.expect(200);
        let answer = stage.there().0.await.unwrap();
        assert!(matches!(answer.status, 403 | 503), "{answer:?}");
        stage.way.release();
        drop(rush);
        let begun = std::time::Instant::now();
        let reactivate = path(&stage.tenant, "/reactivate");
        stage.here().post(&reactivate, &json!({})).await.expect(200);
        while stage.there().0.await.unwrap().status != 200 {
            assert!(begun.elapsed() < PATIENCE, "the registry is there again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
