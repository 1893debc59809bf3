//! The bound of sessions holds as the server sees it, and not only as we count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use lerianctl::isolation::model::Verdict;
use lerianctl::isolation::report::Isolation;
use lerianctl::link::postgres::Session;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::isolation_fleet::{Fleet, refuted};
use crate::server_kit::PATIENCE;

/// Connections that the server has, counted where nothing can be missed.
#[derive(Default)]
struct Counted {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

/// Stands before the server. A connection counts from when it is taken until the server has closed
/// its end, which a backend does by being gone.
async fn counting(port: u16) -> (u16, Arc<Counted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let counted = Arc::new(Counted::default());
    let counts = Arc::clone(&counted);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
            counts.most.fetch_max(now, Ordering::SeqCst);
            counts.all.fetch_add(1, Ordering::SeqCst);
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                    let _ = to_server.shutdown().await;
                });
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                counts.now.fetch_sub(1, Ordering::SeqCst);
                let _ = to_client.shutdown().await;
                up.abort();
            });
        }
    });
    (own, counted)
}

/// Checks `fleet` through the counting proxy while `pg_stat_activity` is sampled; returns the report
/// and the most backends that were seen.
async fn watched(fleet: &Fleet, jobs: usize, counted: &Counted, port: u16) -> (Isolation, i64) {
    let mut inventory = fleet.inventory.clone();
    for store in &mut inventory.stores {
        store.port = port;
    }
    let done = Arc::new(AtomicBool::new(false));
    let session = fleet.session("postgres").await;
    let count = async |session: &Session| {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
                     AND (backend_type = 'client backend' OR state = 'starting')";
        let row = session.query_one(count, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    // A backend outlives the session that was closed for a moment.
    let begun = Instant::now();
    while count(&session).await > 0 {
        assert!(begun.elapsed() < PATIENCE, "somebody else is connected");
    }
    let sampler = {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            let mut most = 0;
            while !done.load(Ordering::SeqCst) {
                most = most.max(count(&session).await);
            }
            session.close().await;
            most
        })
    };
    counted.most.store(0, Ordering::SeqCst);
    let mut auditor = fleet.admin.clone();
    auditor.port = port;
    let report = fleet
        .check_inventory(&inventory, |settings| {
            settings.jobs = jobs;
            settings.auditors = vec![auditor];
        })
        .await;
    done.store(true, Ordering::SeqCst);
    (report, sampler.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_never_has_more_sessions_than_the_bound_says() {
    for fleet in [Fleet::by_hand(true).await, Fleet::schemas_by_hand().await] {
        // Refused logins count as well, and there are many of them.
        let more = fleet.session("postgres").await;
        let mut fleet = fleet;
        let shared = fleet.inventory.stores[0].schema.is_some();
        for at in 0..12 {
            let name = format!("more_{at}");
            let place = if shared { "shared" } else { name.as_str() };
            if !shared {
                let make = format!("CREATE DATABASE {name}");
                more.batch_execute(&make).await.unwrap();
            }
            let mut store = fleet.inventory.stores[0].clone();
            let password = store.password.as_ref().unwrap().expose();
            let grants = format!(
                "CREATE ROLE {name}_app LOGIN CONNECTION LIMIT 9 PASSWORD '{password}';
                 REVOKE ALL ON DATABASE {place} FROM PUBLIC;
                 GRANT CONNECT ON DATABASE {place} TO {name}_app"
            );
            more.batch_execute(&grants).await.unwrap();
            if shared {
                let inside = fleet.session("shared").await;
                let make = format!("CREATE SCHEMA {name} AUTHORIZATION {name}_app");
                inside.batch_execute(&make).await.unwrap();
                inside.close().await;
                store.schema = Some(name.clone());
            } else {
                store.database.clone_from(&name);
            }
            store.tenant.clone_from(&name);
            store.tenant_id.clone_from(&name);
            store.login = format!("{name}_app");
            fleet.inventory.stores.push(store);
        }
        more.close().await;
        let (port, counted) = counting(fleet.admin.port).await;
        for jobs in [1, 2, 5] {
            let (report, seen) = watched(&fleet, jobs, &counted, port).await;
            let through = counted.most.load(Ordering::SeqCst);
            let stated = report.coverage.connections as usize;
            assert!(through <= stated, "{through} where {stated} are stated");
            assert!(stated <= jobs, "{stated} where {jobs} are allowed");
            assert!(usize::try_from(seen).unwrap() <= jobs, "{seen} seen");
            // The bound is used, and what was found is the same with any.
            assert_eq!(stated, jobs, "{:#?}", refuted(&report));
            let ids: Vec<_> = report.findings.iter().map(|f| &f.check).collect();
            assert!(
                ids.iter().all(|id| *id == "CF-02"),
                "{:#?}",
                refuted(&report)
            );
            // Two checks look at two sessions side by side: they stay open, and are no trouble.
            for id in ["PB-01", "PG-211"] {
                let check = report.checks.iter().find(|check| check.check == id);
                let check = check.unwrap();
                let open = check.verdict == Verdict::Unproven && check.reason.contains("--jobs");
                assert_eq!(open, jobs == 1, "{check:?}");
                assert_ne!(check.verdict, Verdict::Error, "{check:?}");
            }
        }
        assert!(counted.all.load(Ordering::SeqCst) > 200 || shared);
        assert_eq!(counted.now.load(Ordering::SeqCst), 0);
    }
}

/// A future that is dropped in the middle keeps its place until the server has noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_dropped_anywhere_keep_to_the_bound() {
    let fleet = Fleet::by_hand(true).await;
    let (port, counted) = counting(fleet.admin.port).await;
    let gate = lerianctl::link::postgres::Gate::new(3);
    let mut endpoint = fleet.admin.clone();
    endpoint.port = port;
    let mut tries = tokio::task::JoinSet::new();
    for at in 0..40 {
        let (gate, endpoint) = (gate.clone(), endpoint.clone());
        tries.spawn(async move {
            let try_it = async {
                let session = gate.connect(&endpoint, "").await.unwrap();
                let _ = session.batch_execute("SELECT pg_sleep(0.05)").await;
            };
            let time = std::time::Duration::from_millis(at * 7 % 60);
            let _ = tokio::time::timeout(time, try_it).await;
        });
    }
    while tries.join_next().await.is_some() {}
    // All places come back, and whoever takes them all is the only one.
    drop(gate.places(3).await.unwrap());
    assert!(counted.all.load(Ordering::SeqCst) > 3);
    assert!(counted.most.load(Ordering::SeqCst) <= 3);
    assert_eq!(gate.most(), 3);
}
