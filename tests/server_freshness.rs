//! Several servers on one registry: who asks after a change was acknowledged anywhere never sees
//! what was before it, and gets no answer rather than an old one.

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

/// A way to PostgreSQL on which its answers can be held back.
struct Way {
    port: u16,
    held: watch::Sender<bool>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let (held, state) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    let to = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let (mut from, mut asking) = from.into_split();
                    let (mut to, mut asked) = to.into_split();
                    let questions = tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut from, &mut asked).await;
                    });
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = to.read(&mut buffer).await {
                        if state.wait_for(|held| !*held).await.is_err()
                            || asking.write_all(&buffer[..length]).await.is_err()
                        {
                            break;
                        }
                    }
                    questions.abort();
                });
            }
        });
        Self { port: own, held }
    }

    fn hold(&self) {
        self.held.send_replace(true);
    }

    fn release(&self) {
        self.held.send_replace(false);
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
        slow.ready = std::sync::Arc::default();
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
