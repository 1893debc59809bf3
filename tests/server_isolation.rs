//! The check of isolation that the Tenant Manager runs by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lerianctl::devstack::postgres::Postgres as PostgresServer;
use lerianctl::isolation::attest::SigningKey;
use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::secret::Secret;
use lerianctl::server::IsolationSettings;
use serde_json::{Value, json};

use super::server_kit::{Caller, PATIENCE};
use super::support::{Postgres, Sandbox, Server, ServerProcess, cluster};

// The key pair of RFC 8410, section 10.3.
pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
pub(crate) const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";

pub(crate) fn settings(every: Duration) -> IsolationSettings {
    IsolationSettings {
        every,
        timeout: Duration::from_mins(2),
        sessions: 4,
        derangements: 3,
        exhaustive: false,
        control: true,
        auditors: Vec::new(),
        brokers: Vec::new(),
        rabbitmq_ca: None,
        mongodb: lerianctl::isolation::mongodb::Options::default(),
        products: None,
        waivers: None,
        baseline: None,
        signer: None,
    }
}

/// Returns the value of a figure, with its labels as they are written.
pub(crate) fn figure(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| {
        let (found, value) = line.rsplit_once(' ')?;
        (found == format!("lerianctl_isolation_{name}")).then(|| value.parse().unwrap())
    })
}

/// Waits until `/metrics` says so.
pub(crate) async fn until(caller: &Caller, what: &str, enough: impl Fn(&str) -> bool) -> String {
    let limit = Instant::now() + PATIENCE;
    loop {
        let text = caller.get("/metrics").await.text;
        if enough(&text) {
            return text;
        }
        let isolation: Vec<&str> = text.lines().filter(|l| l.contains("_isolation_")).collect();
        assert!(Instant::now() < limit, "never {what}: {isolation:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn verdict(caller: &Caller, word: &str) -> String {
    let name = format!("verdict{{verdict=\"{word}\"}}");
    until(caller, word, |text| figure(text, &name) == Some(1.0)).await
}

pub(crate) async fn sql(admin: &PostgresEndpoint, statement: &str) {
    let session = admin.connect().await.unwrap();
    session.batch_execute(statement).await.unwrap();
    session.close().await;
}

/// Returns a tenant's database and login.
pub(crate) async fn place(caller: &Caller, tenant: &Value) -> (String, String) {
    let path = format!("/v1/admin/tenants/{}", tenant["id"].as_str().unwrap());
    let record = caller.get(&path).await.expect(200);
    let database = &record["services"][0]["databases"][0];
    let text = |key: &str| database[key].as_str().unwrap().to_owned();
    (text("database"), text("login"))
}

async fn actions(caller: &Caller, action: &str, result: &str) -> usize {
    let path = format!("/v1/admin/audit?action={action}&limit=1000");
    let page = caller.get(&path).await.expect(200);
    let items = page["items"].as_array().unwrap().iter();
    items
        .filter(|entry| entry["record"]["result"] == result || entry["result"] == result)
        .count()
}

pub(crate) fn private() -> lerianctl::devstack::temporary::Temporary<PostgresServer> {
    Postgres::private()
}

#[tokio::test]
async fn a_leak_shows_by_itself_and_is_gone_after_the_remedy() {
    let postgres = tokio::task::spawn_blocking(private).await.unwrap();
    let admin = postgres.endpoint();
    let folder = tempfile::tempdir().unwrap();
    let waivers = folder.path().join("waivers.toml");
    std::fs::write(&waivers, "").unwrap();
    let server = Server::start_with(|server| {
        server.clusters = vec![cluster("main", &postgres)];
        server.event_redis = None;
        let signer = SigningKey::from_pem(&Secret::new(PRIVATE)).unwrap();
        server.isolation = Some(Box::new(IsolationSettings {
            waivers: Some(waivers.clone()),
            signer: Some(Arc::new(signer)),
            ..settings(Duration::from_secs(2))
        }));
    });
    let caller = Caller::new(&server);
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", server.api_key().expose());
    room.write("key.pub", PUBLIC);
    let first = caller.tenant(&["tracer"], "database").await;
    let second = caller.tenant(&["tracer"], "database").await;
    let two = |text: &str| {
        figure(text, "tenants") == Some(2.0)
            && figure(text, "verdict{verdict=\"holds\"}") == Some(1.0)
    };
    let text = until(&caller, "held for two tenants", two).await;
    assert_eq!(figure(&text, "findings{severity=\"critical\"}"), Some(0.0));
    assert_eq!(figure(&text, "coverage_ratio{of=\"databases\"}"), Some(1.0));
    assert_eq!(figure(&text, "coverage_ratio{of=\"logins\"}"), Some(1.0));
    assert_eq!(figure(&text, "planted_breaches_missed"), Some(0.0));
    assert!(figure(&text, "last_run_age_seconds").unwrap() < 60.0);
    let guide = include_str!("../docs/operations.md");
    for line in text
        .lines()
        .filter(|line| line.starts_with("# TYPE lerianctl_isolation"))
    {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        let total = if kind == "counter" { "_total" } else { "" };
        let shown = format!("`{name}{total}`");
        assert!(guide.contains(&shown), "docs/operations.md lacks {shown}");
    }
    let shown = room.run(["isolation", "show"]).success();
    assert!(shown.stdout.contains("ISOLATION HOLDS"), "{shown}");
    assert!(shown.stdout.contains("Checked by "), "{shown}");

    let (database, _) = place(&caller, &second).await;
    let (_, login) = place(&caller, &first).await;
    sql(
        &admin,
        &format!("GRANT CONNECT ON DATABASE \"{database}\" TO \"{login}\""),
    )
    .await;
    let text = verdict(&caller, "refuted").await;
    assert!(figure(&text, "findings{severity=\"critical\"}").unwrap() >= 1.0);
    let shown = room.run(["isolation", "show"]).exits(3);
    let slug = |tenant: &Value| tenant["slug"].as_str().unwrap().to_owned();
    let reach = format!("{} -> {}", slug(&first), slug(&second));
    assert!(shown.stdout.contains(&reach), "{shown}");
    // As it is kept, it is what was signed.
    let saved = ["isolation", "show", "--save", "r.json", "-o", "json"];
    let shown = room.run(saved).exits(3).json();
    assert_eq!(shown["served"]["stale"], false);
    let verify = [
        "isolation",
        "verify-report",
        "r.json",
        "--key-file",
        "key.pub",
    ];
    let verified = room.run(verify).success();
    assert!(verified.stdout.contains("refuted"), "{verified}");
    let _ = room.run(["isolation", "show", "r.json"]).exits(3);

    sql(
        &admin,
        &format!("REVOKE CONNECT ON DATABASE \"{database}\" FROM \"{login}\""),
    )
    .await;
    let fresh = room.run(["isolation", "show", "--fresh"]).success();
    assert!(fresh.stdout.contains("ISOLATION HOLDS"), "{fresh}");
    let text = verdict(&caller, "holds").await;
    assert_eq!(figure(&text, "findings{severity=\"critical\"}"), Some(0.0));

    // What could not look is no verdict, however good the one before was.
    std::fs::remove_file(&waivers).unwrap();
    verdict(&caller, "error").await;
    let blind = room.run(["isolation", "show"]).exits(3);
    assert!(blind.stdout.contains("COULD NOT LOOK"), "{blind}");
    let status = caller.get("/v1/admin/isolation").await.expect(200);
    assert!(
        status["failed"]["reason"]
            .as_str()
            .unwrap()
            .contains("waivers")
    );
    assert_eq!(status["last"]["verdict"], "holds");
    std::fs::write(&waivers, "").unwrap();
    verdict(&caller, "holds").await;

    // All of it is in the audit log, and no password is anywhere.
    assert!(actions(&caller, "isolation.check", "begun").await >= 4);
    assert!(actions(&caller, "isolation.check", "refuted").await >= 1);
    assert_eq!(actions(&caller, "isolation.ask", "ok").await, 1);
    let report = caller.get("/v1/admin/isolation/report").await;
    for secret in [&admin.password.clone().unwrap(), server.api_key()] {
        assert!(!report.text.contains(secret.expose()));
    }
    server.stop();
}

#[tokio::test]
async fn a_server_that_does_not_check_says_so() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let status = caller.get("/v1/admin/isolation").await.expect(200);
    assert_eq!(status["enabled"], false);
    caller
        .get("/v1/admin/isolation/report")
        .await
        .refusal(404, "isolation.no_report");
    caller
        .post("/v1/admin/isolation/check", &json!({}))
        .await
        .refusal(409, "isolation.off");
    assert!(!caller.get("/metrics").await.text.contains("_isolation_"));
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", server.api_key().expose());
    let none = room.run(["isolation", "show"]).exits(5);
    assert!(none.stderr.contains("does not check by itself"), "{none}");
    let _ = room.run(["isolation", "show", "--fresh"]).exits(6);
    server.stop();
}

/// Returns the roles and databases of a server, which a check must leave as they are.
async fn everything(admin: &PostgresEndpoint) -> Vec<String> {
    let session = admin.connect().await.unwrap();
    let rows = session
        .query(
            "SELECT 'role ' || rolname || ' ' || oid FROM pg_roles
             UNION ALL SELECT 'database ' || datname || ' ' || coalesce(datacl::text, '') FROM pg_database
             ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    session.close().await;
    rows.iter().map(|row| row.get(0)).collect()
}

fn replica(
    postgres: &PostgresEndpoint,
    key: &Secret,
    master: &Secret,
    every: &str,
) -> ServerProcess {
    ServerProcess::replica_of(postgres, key, master, &["--isolation-every", every])
}

async fn reports(caller: &Caller, more_than: usize) -> usize {
    let limit = Instant::now() + PATIENCE;
    loop {
        let status = caller.get("/v1/admin/isolation").await.expect(200);
        let begun = actions(caller, "isolation.check", "begun").await;
        if begun > more_than && status["runningSince"].is_null() {
            return begun;
        }
        assert!(Instant::now() < limit, "{status:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_servers_one_checks_and_one_that_is_killed_leaves_nothing() {
    let postgres = tokio::task::spawn_blocking(private).await.unwrap();
    let admin = postgres.endpoint();
    let (key, master) = (Secret::generate(), Secret::generate());
    let start = |every: &'static str| {
        let (admin, key, master) = (admin.clone(), key.clone(), master.clone());
        tokio::task::spawn_blocking(move || replica(&admin, &key, &master, every))
    };
    let mut one = start("1h").await.unwrap();
    let two = start("1h").await.unwrap();
    let at = |server: &ServerProcess| Caller::at(server.url()).with_key(key.expose());
    let caller = at(&two);
    assert_eq!(reports(&caller, 0).await, 1, "both checked");
    for _ in 0..3 {
        caller.tenant(&["tracer"], "database").await;
    }
    // Asked for at both, it is done once.
    for server in [&one, &two] {
        let asked = at(server)
            .post("/v1/admin/isolation/check", &json!({}))
            .await;
        asked.expect(202);
    }
    let done = reports(&caller, 1).await;
    assert!((2..=3).contains(&done), "{done}");
    let figures = at(&one).get("/metrics").await.text;
    assert_eq!(
        figure(&figures, "verdict{verdict=\"holds\"}"),
        figure(
            &caller.get("/metrics").await.text,
            "verdict{verdict=\"holds\"}"
        )
    );
    drop(two);

    // Killed while it looks: nothing is left, and the next one takes it over.
    let before = everything(&admin).await;
    let session = admin.connect().await.unwrap();
    at(&one)
        .post("/v1/admin/isolation/check", &json!({}))
        .await
        .expect(202);
    let busy = "SELECT count(*) FROM pg_stat_activity
        WHERE datname LIKE '%tracer%' AND pid <> pg_backend_pid()";
    let limit = Instant::now() + PATIENCE;
    while session.query_one(busy, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < limit, "nobody looked");
    }
    one.kill();
    let gone = "SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while session.query_one(gone, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < limit, "sessions stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    session.close().await;
    assert_eq!(everything(&admin).await, before);
    let three = start("1h").await.unwrap();
    let caller = at(&three);
    let again = reports(&caller, done + 1).await;
    assert_eq!(again, done + 2);
    verdict(&caller, "holds").await;
    assert_eq!(everything(&admin).await, before);
}

#[test]
fn flags_that_cannot_be_used_are_told_at_the_start() {
    let room = Sandbox::new();
    room.write("master.key", Secret::generate().expose());
    room.write("api.key", Secret::generate().expose());
    room.write("postgres.url", "postgres://a:hunter2@127.0.0.1:1/postgres");
    room.write("broken.pem", "hunter2");
    room.write("broken.toml", "[[waiver]]\ncheck = 'PG-999'\n");
    let start = |more: &[&str]| {
        let words = [
            "server",
            "start",
            "--listen",
            "127.0.0.1:0",
            "--registry",
            "r.db",
            "--master-key-file",
            "master.key",
            "--service-key-file",
            "api.key",
            "--postgres-url-file",
            "postgres.url",
        ];
        room.run([&words[..], more].concat())
    };
    for (flag, file, code) in [
        (
            "--isolation-sign-key-file",
            "broken.pem",
            "isolation.signing_key",
        ),
        ("--isolation-waivers", "broken.toml", "isolation.waivers"),
        ("--isolation-postgres-url-file", "broken.pem", "error["),
        ("--isolation-rabbitmq-url-file", "broken.pem", "error["),
    ] {
        let refused = start(&["--isolation-every", "1h", flag, file]).exits(2);
        assert!(refused.stderr.contains(code), "{refused}");
        assert!(!refused.stderr.contains("hunter2"), "{refused}");
    }
    let _ = start(&["--isolation-every", "1ms"]).exits(2);
    let _ = start(&["--isolation-every", "often"]).exits(2);
}
