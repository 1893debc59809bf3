//! A run that could not look is never green, and leaves no trace.

use lerianctl::contract::wire::IsolationMode;
use lerianctl::isolation::model::Verdict;
use lerianctl::isolation::report::ControlState;

use crate::isolation_command::{CHECK, room};
use crate::isolation_fleet::{Fleet, refuted};

/// Everything that a run could have changed, as one text: the shared catalogues, and those and the
/// rows of every database.
async fn everything(fleet: &Fleet) -> String {
    let admin = fleet.session("postgres").await;
    let shared = "SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
        SELECT 'role ' || to_json(r)::text AS line FROM pg_authid r
        UNION ALL SELECT 'member ' || to_json(m)::text FROM pg_auth_members m
        UNION ALL SELECT 'database ' || (to_jsonb(d) - 'datfrozenxid' - 'datminmxid')::text FROM pg_database d
        UNION ALL SELECT 'setting ' || to_json(s)::text FROM pg_db_role_setting s
        UNION ALL SELECT 'comment ' || to_json(c)::text FROM pg_shdescription c
        UNION ALL SELECT 'depend ' || to_json(p)::text FROM pg_shdepend p) x";
    let row = admin.query_one(shared, &[]).await.unwrap();
    let mut text: String = row.get(0);
    let rows = admin
        .query(
            "SELECT datname::text FROM pg_database WHERE datallowconn ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    admin.close().await;
    let inside = "SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
        SELECT 'class ' || (to_jsonb(c) - 'relfrozenxid' - 'relminmxid' - 'relpages' - 'reltuples' - 'relallvisible')::text AS line FROM pg_class c
        UNION ALL SELECT 'schema ' || to_json(n)::text FROM pg_namespace n
        UNION ALL SELECT 'routine ' || p.oid || p.proname FROM pg_proc p
        UNION ALL SELECT 'depend ' || to_json(d)::text FROM pg_depend d
        UNION ALL SELECT 'default ' || to_json(a)::text FROM pg_default_acl a
        UNION ALL SELECT 'server ' || to_json(s)::text FROM pg_foreign_server s
        UNION ALL SELECT 'large ' || to_json(l)::text FROM pg_largeobject_metadata l
        UNION ALL SELECT 'rows ' || table_to_xml(c.oid, true, false, '')::text FROM pg_class c
          WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relnamespace::regnamespace::text NOT LIKE 'pg_%') x";
    for row in rows {
        let database: String = row.get(0);
        let session = fleet.session(&database).await;
        let sum: String = session.query_one(inside, &[]).await.unwrap().get(0);
        text.extend(["\n", &database, " ", &sum]);
        session.close().await;
    }
    text
}

#[tokio::test]
async fn a_check_leaves_no_trace() {
    for mode in [IsolationMode::Database, IsolationMode::Schema] {
        let fleet = Fleet::provisioned(mode).await;
        let before = everything(&fleet).await;
        let report = fleet.check().await;
        assert_eq!(report.control.state, ControlState::Detected);
        assert_eq!(everything(&fleet).await, before, "{mode:?}");
        // Stopped anywhere, too: the future is dropped, and its sessions with it.
        for step in 0..12 {
            let time = std::time::Duration::from_millis(step * 25);
            let _ = tokio::time::timeout(time, fleet.check()).await;
        }
        let admin = fleet.session("postgres").await;
        // A session that was left behind ends when the server notices.
        let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lerianctl' \
                    AND pid <> pg_backend_pid() AND state IS DISTINCT FROM 'idle'";
        let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while admin.query_one(gone, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(std::time::Instant::now() < deadline, "sessions stay");
            tokio::task::yield_now().await;
        }
        admin.close().await;
        assert_eq!(everything(&fleet).await, before, "{mode:?}, stopped");
    }
}

/// The program itself, ended without a chance to clean up.
#[tokio::test]
async fn a_killed_check_leaves_no_trace() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    let before = everything(&fleet).await;
    let whole = std::time::Instant::now();
    let _ = room.run(CHECK).success();
    let whole = whole.elapsed();
    assert_eq!(everything(&fleet).await, before, "a whole run");
    for _ in 0..8 {
        let mut child = room.command(CHECK).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(rand::random_range(0.1..1.0)));
        let _ = child.kill();
        let _ = child.wait();
    }
    let admin = fleet.session("postgres").await;
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lerianctl' \
                AND pid <> pg_backend_pid()";
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(std::time::Instant::now() < deadline, "sessions stay");
        tokio::task::yield_now().await;
    }
    admin.close().await;
    assert_eq!(everything(&fleet).await, before, "killed");
    let _ = room.run(CHECK).success();
}

#[tokio::test]
async fn without_a_control_nothing_is_proved() {
    let fleet = Fleet::by_hand(true).await;
    let off = fleet.check_with(|settings| settings.control = false).await;
    assert_eq!(
        (off.verdict, off.control.state),
        (Verdict::Unproven, ControlState::Off)
    );
    let nobody = fleet.check_with(|settings| settings.auditors.clear()).await;
    assert_eq!(refuted(&nobody), [""; 0]);
    assert_eq!(nobody.control.state, ControlState::Impossible);
    assert_eq!(nobody.verdict, Verdict::Unproven);
    // A tenant's own login reads the catalogues of the cluster and of its own database.
    assert_eq!(nobody.coverage.databases_read, 3);
    assert!(
        nobody.fleet.clusters[0]
            .reader
            .starts_with("a tenant's own login")
    );
    // What only a superuser may read is skipped, and said.
    assert!(
        nobody
            .not_tested
            .iter()
            .any(|gap| gap.what.starts_with("PG-014"))
    );
}

#[tokio::test]
async fn a_fleet_that_cannot_be_reached_is_an_error() {
    let fleet = Fleet::by_hand(true).await;
    let coverage = fleet.check().await.coverage;
    assert_eq!((coverage.pairs, coverage.databases_read), (6, 3));
    let mut inventory = fleet.inventory.clone();
    for store in &mut inventory.stores {
        store.port = 1;
    }
    let settings = lerianctl::isolation::run::Settings::new(jiff::Timestamp::now());
    let report = lerianctl::isolation::run::run(&inventory, &settings, &|_, _, _| ()).await;
    assert_eq!(report.verdict, Verdict::Error, "{}", report.because);
    assert!(
        report
            .checks
            .iter()
            .any(|check| check.verdict == Verdict::Error)
    );
    // Nor does it say that the catalogues answered for any pair.
    assert_eq!(
        (report.coverage.pairs, report.coverage.databases_read),
        (0, 0)
    );
    assert!(
        report.covered().contains("catalogues: not read"),
        "{}",
        report.covered()
    );
}

#[tokio::test]
async fn a_wrong_password_proves_nothing() {
    let fleet = Fleet::by_hand(true).await;
    let mut inventory = fleet.inventory.clone();
    inventory.stores[0].password = Some(lerianctl::secret::Secret::generate());
    let mut settings = lerianctl::isolation::run::Settings::new(jiff::Timestamp::now());
    settings.auditors = vec![fleet.admin.clone()];
    let report = lerianctl::isolation::run::run(&inventory, &settings, &|_, _, _| ()).await;
    assert_eq!(refuted(&report), [""; 0]);
    assert_eq!(report.verdict, Verdict::Error, "{}", report.because);
    let live = report
        .checks
        .iter()
        .find(|check| check.check == "PG-205")
        .unwrap();
    assert_eq!(live.verdict, Verdict::Error, "{live:?}");
}
