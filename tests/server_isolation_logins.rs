//! The check that the Tenant Manager runs by itself, with a login that is no superuser.

use std::path::PathBuf;
use std::time::Duration;

use lerianctl::contract::wire::IsolationMode;
use lerianctl::devstack::postgres::Postgres as PostgresServer;
use lerianctl::devstack::temporary::Temporary;
use lerianctl::isolation::model::Verdict;
use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::provision::Cluster;
use lerianctl::secret::Secret;
use lerianctl::server::IsolationSettings;
use serde_json::Value;

use super::isolation_fleet::{Fleet, refuted};
use super::server_isolation::{figure, place, private, settings, sql, until, verdict};
use super::server_kit::Caller;
use super::support::{Postgres, Server, cluster, postgres_18};

const PASSWORD: &str = "only for this test";

/// The cluster as a careful operator gives it to the server.
async fn careful(postgres: &PostgresServer) -> (Cluster, PostgresEndpoint) {
    let admin = postgres.endpoint();
    let make = format!("CREATE ROLE provisioner LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'");
    sql(&admin, &make).await;
    let mut limited = cluster("main", postgres);
    limited.admin.user = "provisioner".into();
    limited.admin.password = Some(Secret::new(PASSWORD));
    (limited, admin)
}

fn start(cluster: &Cluster, change: impl FnOnce(&mut IsolationSettings)) -> Server {
    let mut isolation = settings(Duration::from_secs(2));
    change(&mut isolation);
    Server::start_with(|server| {
        server.clusters = vec![cluster.clone()];
        server.event_redis = None;
        server.isolation = Some(Box::new(isolation));
    })
}

async fn report(caller: &Caller) -> Value {
    let stored = caller.get("/v1/admin/isolation/report").await.expect(200);
    serde_json::from_str(stored["report"].as_str().unwrap()).unwrap()
}

/// Returns the verdict of a check, and why.
fn came_to(report: &Value, id: &str) -> (String, String) {
    let mut checks = report["checks"].as_array().unwrap().iter();
    let check = checks.find(|check| check["check"] == id).unwrap();
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("reason"))
}

fn two_tenants(text: &str) -> bool {
    figure(text, "tenants") == Some(2.0)
}

/// Starts a server of its own, of version 18 where `folder` has its programs.
async fn server_of(folder: Option<PathBuf>) -> Temporary<PostgresServer> {
    let start = move || match folder {
        Some(folder) => Postgres::private_of(&folder),
        None => private(),
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

#[tokio::test]
async fn what_the_login_may_not_see_is_never_green() {
    what_is_not_seen(&server_of(None).await).await;
}

/// Since 16 whoever makes a role may give it away, and is not in it.
#[tokio::test]
async fn what_the_login_may_not_see_is_never_green_on_postgresql_18() {
    if let Some(folder) = postgres_18("no login that is no superuser checked") {
        what_is_not_seen(&server_of(Some(folder)).await).await;
    }
}

async fn what_is_not_seen(postgres: &Temporary<PostgresServer>) {
    let (limited, admin) = careful(postgres).await;
    let server = start(&limited, |_| ());
    let caller = Caller::new(&server);
    let first = caller.tenant(&["tracer"], "database").await;
    let second = caller.tenant(&["tracer"], "schema").await;
    let _ = until(&caller, "seen two tenants", two_tenants).await;
    let blind = report(&caller).await;
    assert_eq!(blind["verdict"], "unproven", "{}", blind["because"]);
    assert_eq!(blind["passed"], false);
    // What it may read is proved, with breaches that it may plant.
    for id in ["PG-003", "PG-004", "PG-005", "PG-013", "PG-201", "PG-202"] {
        assert_eq!(came_to(&blind, id).0, "holds", "{id}: {blind:#}");
    }
    assert_eq!(blind["control"]["state"], "detected");
    let reason = blind["control"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("permission denied for database"),
        "{reason}"
    );
    // What it may not read, or not plant, is not.
    for (id, why) in [
        ("PG-014", "permission denied"),
        ("PG-015", "permission denied"),
        ("PG-024", "pg_monitor"),
        ("PG-002", "could be planted"),
        ("PG-009", "could be planted"),
        ("PG-102", "could be planted"),
        ("PG-110", "could be planted"),
    ] {
        let (verdict, reason) = came_to(&blind, id);
        assert_eq!(verdict, "unproven", "{id}");
        assert!(reason.contains(why), "{id}: {reason}");
    }
    let untested = blind["notTested"].to_string();
    for id in ["PG-014 ·", "PG-015 ·", "PG-024 ·"] {
        assert!(untested.contains(id), "{untested}");
    }
    let text = caller.get("/metrics").await.text;
    assert_eq!(figure(&text, "verdict{verdict=\"holds\"}"), Some(0.0));
    assert_eq!(figure(&text, "planted_breaches_missed"), Some(0.0));

    // A leak is a leak, whoever looks.
    let (database, login) = place(&caller, &first).await;
    let (_, other) = place(&caller, &second).await;
    let grant = format!("GRANT CONNECT ON DATABASE \"{database}\" TO \"{other}\"");
    sql(&admin, &grant).await;
    let _ = verdict(&caller, "refuted").await;
    assert_eq!(came_to(&report(&caller).await, "PG-002").0, "refuted");
    let revoke = format!("REVOKE CONNECT ON DATABASE \"{database}\" FROM \"{other}\"");
    sql(&admin, &revoke).await;
    let _ = verdict(&caller, "unproven").await;

    // A session that outlives its login is seen without a right to see sessions.
    sql(
        &admin,
        &format!("ALTER ROLE \"{login}\" PASSWORD 'for this session'"),
    )
    .await;
    let inside = PostgresEndpoint {
        user: login.clone(),
        password: Some(Secret::new("for this session")),
        ..admin.with_database(&database)
    };
    let session = inside.connect().await.unwrap();
    sql(&admin, &format!("ALTER ROLE \"{login}\" NOLOGIN")).await;
    let _ = verdict(&caller, "refuted").await;
    assert_eq!(came_to(&report(&caller).await, "PG-025").0, "refuted");
    session.close().await;
    server.stop();
}

/// What docs/operations.md tells the operator to make.
const AUDITOR: [&str; 6] = [
    "CREATE ROLE auditor LOGIN CREATEROLE PASSWORD 'only for this test'",
    "CREATE DATABASE audit OWNER auditor",
    "GRANT pg_monitor TO auditor",
    "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO auditor",
    "GRANT SELECT ON pg_hba_file_rules TO auditor",
    "GRANT SELECT (rolname, rolcanlogin, rolpassword) ON pg_authid TO auditor",
];

/// Makes that login and returns it.
async fn auditor(admin: &PostgresEndpoint) -> PostgresEndpoint {
    let guide = include_str!("../docs/operations.md");
    for statement in AUDITOR {
        let shown = statement.split(" PASSWORD").next().unwrap();
        assert!(guide.contains(shown), "docs/operations.md lacks {shown}");
        sql(admin, statement).await;
    }
    let inside = admin.with_database("audit");
    for statement in &AUDITOR[3..] {
        sql(&inside, statement).await;
    }
    PostgresEndpoint {
        user: "auditor".into(),
        password: Some(Secret::new(PASSWORD)),
        ..inside
    }
}

/// A check that somebody runs, of fleets of both modes.
async fn checked_once(server: impl Fn() -> Temporary<PostgresServer>) {
    for mode in [IsolationMode::Database, IsolationMode::Schema] {
        let fleet = Fleet::provisioned_on(server(), mode).await;
        let auditor = auditor(&fleet.admin).await;
        let report = fleet
            .check_with(|settings| settings.auditors = vec![auditor.clone()])
            .await;
        assert_eq!(refuted(&report), [""; 0]);
        assert_eq!(report.verdict, Verdict::Holds, "{}", report.because);
        assert_eq!(report.control.missed, [""; 0]);
        // The memberships that it gave itself to plant are gone.
        let session = fleet.session("postgres").await;
        let count = "SELECT count(*) FROM pg_auth_members WHERE member = 'auditor'::regrole";
        let row = session.query_one(count, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
        session.close().await;
    }
}

#[tokio::test]
async fn a_check_by_a_login_that_is_no_superuser_proves_both_modes() {
    checked_once(Postgres::private).await;
}

#[tokio::test]
async fn a_check_by_a_login_that_is_no_superuser_proves_both_modes_on_postgresql_18() {
    if let Some(folder) = postgres_18("no check by a login that is no superuser") {
        checked_once(|| Postgres::private_of(&folder)).await;
    }
}

#[tokio::test]
async fn a_login_that_may_look_everywhere_proves_without_being_a_superuser() {
    what_is_proved(&server_of(None).await, "").await;
}

#[tokio::test]
async fn a_login_that_may_look_everywhere_proves_on_postgresql_18() {
    let Some(folder) = postgres_18("no auditor that is no superuser proved") else {
        return;
    };
    // With and without membership in the roles that one makes.
    for given in ["", "set, inherit"] {
        what_is_proved(&server_of(Some(folder.clone())).await, given).await;
    }
}

async fn what_is_proved(postgres: &Temporary<PostgresServer>, given: &str) {
    let (limited, admin) = careful(postgres).await;
    let auditor = auditor(&admin).await;
    if !given.is_empty() {
        let set = format!("ALTER ROLE auditor SET createrole_self_grant = '{given}'");
        sql(&admin, &set).await;
    }
    let server = start(&limited, |settings| {
        settings.auditors = vec![auditor.clone()];
    });
    let caller = Caller::new(&server);
    for _ in 0..2 {
        caller.tenant(&["tracer"], "schema").await;
    }
    let _ = until(&caller, "seen two tenants", two_tenants).await;
    let proved = report(&caller).await;
    assert_eq!(proved["verdict"], "holds", "{proved:#}");
    for id in [
        "PG-002", "PG-003", "PG-004", "PG-005", "PG-014", "PG-015", "PG-024", "PG-102", "PG-103",
        "PG-107", "PG-116",
    ] {
        assert_eq!(came_to(&proved, id).0, "holds", "{id}: {proved:#}");
    }
    // A superuser's breaches it may not plant, and says so.
    assert_eq!(came_to(&proved, "PG-106").0, "unproven");
    server.stop();
}
