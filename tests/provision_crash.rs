//! Whatever the instant at which the provisioner dies, running on from the interrupted step
//! completes the work: made whole, or gone without a trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lerianctl::contract::wire::IsolationMode;
use lerianctl::provision::Step;
use lerianctl::provision::plan::{provision_steps, remove_steps, retire_steps, rotate_steps};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::provision_fixture::{Bench, MODES, Tenant};
use crate::support::unique;

/// Stands between the provisioner and the server: when statement number `at` has passed, its
/// answer is kept back and the provisioner is to die. (Dying before statement `at` leaves the same
/// as dying after the one before it.)
struct Wire {
    port: u16,
    cut: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    async fn new(server: u16, at: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let notify = Arc::new(Notify::new());
        let count = Arc::new(AtomicUsize::new(0));
        let signal = Arc::clone(&notify);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (signal, count) = (Arc::clone(&signal), Arc::clone(&count));
                tokio::spawn(carry(client, upstream, at, signal, count));
            }
        });
        Self {
            port,
            cut: notify,
            task,
        }
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    at: usize,
    signal: Arc<Notify>,
    count: Arc<AtomicUsize>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from_client.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        // A simple query, or the first message of an extended one.
        let is_statement = matches!(buffer[0], b'Q' | b'P');
        let hit = is_statement && count.fetch_add(1, Ordering::SeqCst) == at;
        if to_server.write_all(&buffer[..length]).await.is_err() {
            break;
        }
        if hit {
            back.abort();
            signal.notify_one();
            break;
        }
    }
    back.abort();
}

/// Runs `steps` through a wire that breaks at statement `at`; returns the interrupted step, or
/// `None` when there were fewer statements.
async fn interrupted(bench: &Bench, tenant: &Tenant, steps: &[Step], at: usize) -> Option<usize> {
    let wire = Wire::new(bench.cluster.admin.port, at).await;
    let mut cluster = bench.cluster.clone();
    cluster.admin.port = wire.port;
    let dying = Bench::on(cluster);
    for (number, step) in steps.iter().enumerate() {
        tokio::select! {
            biased;
            () = wire.cut.notified() => return Some(number),
            result = dying.run(tenant, step.clone()) => {
                if let Err(error) = result {
                    panic!("{step:?}: {error}");
                }
            }
        }
    }
    None
}

/// A part of a tenant's life that is interrupted at every statement.
struct Story {
    /// Whether the tenant is there and in use before it begins.
    on_a_tenant: bool,
    steps: fn(&Tenant) -> Vec<Step>,
    /// The login that is open at its end; `None` when nothing is left.
    open_slot: Option<usize>,
}

async fn survives(story: &Story) {
    let bench = Bench::shared();
    for mode in MODES {
        for at in 0.. {
            assert!(at < 60, "the story has an end");
            // A module of its own, so that the shared database is made anew each time.
            let module = unique("crash");
            let tenant = Tenant::new(mode, "aurora", "ledger", &module);
            if story.on_a_tenant {
                let mut steps = provision_steps(&tenant.spec, 0);
                steps.pop();
                bench.run_all(&tenant, steps).await;
                let session = bench.session(&tenant, 0).await;
                // The second is something that only the login owns, so that there is more to do.
                session
                    .batch_execute("CREATE TABLE kept (); SET ROLE NONE; SELECT lo_create(0)")
                    .await
                    .unwrap();
            }
            let steps = (story.steps)(&tenant);
            let stopped = interrupted(&bench, &tenant, &steps, at).await;
            let after = Bench::shared();
            if let Some(number) = stopped {
                after.run_all(&tenant, steps[number..].to_vec()).await;
            }
            if let Some(slot) = story.open_slot {
                // Among its claims: the other login is refused.
                after.run_all(&tenant, vec![Step::Prove { slot }]).await;
                bench.remove(&tenant).await;
            } else {
                let remains = bench.remains(&tenant.spec).await;
                assert_eq!(remains, Vec::<String>::new(), "{mode:?} {at}");
            }
            drop(after);
            if mode == IsolationMode::Schema {
                drop_shared(&bench, &tenant).await;
            }
            if stopped.is_none() {
                assert!(at > 0, "statements pass through the wire");
                break;
            }
        }
    }
}

/// Removes the shared database of a module that only one test uses.
async fn drop_shared(bench: &Bench, tenant: &Tenant) {
    let admin = bench.admin("postgres").await;
    let statement = format!(
        "DROP DATABASE IF EXISTS {} WITH (FORCE)",
        tenant.spec.names.database
    );
    admin.batch_execute(&statement).await.unwrap();
}

#[tokio::test]
async fn provisioning_is_completed() {
    survives(&Story {
        on_a_tenant: false,
        steps: |tenant| provision_steps(&tenant.spec, 0),
        open_slot: Some(0),
    })
    .await;
}

#[tokio::test]
async fn rotation_is_completed() {
    survives(&Story {
        on_a_tenant: true,
        steps: |tenant| {
            let mut steps = rotate_steps(&tenant.spec, 1);
            steps.extend(retire_steps(&tenant.spec, 0));
            steps
        },
        open_slot: Some(1),
    })
    .await;
}

#[tokio::test]
async fn removal_is_completed() {
    survives(&Story {
        on_a_tenant: true,
        steps: |tenant| remove_steps(&tenant.spec, true),
        open_slot: None,
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let bench = Bench::shared();
    for (first, mode) in MODES.into_iter().enumerate() {
        for at in (first..).step_by(2) {
            assert!(at < 80, "the story has an end");
            let module = unique("broken");
            let tenant = Tenant::new(mode, "aurora", "ledger", &module);
            let wire = Wire::new(bench.cluster.admin.port, at).await;
            let mut cluster = bench.cluster.clone();
            cluster.admin.port = wire.port;
            let shaken = Bench::on(cluster);
            let mut steps = provision_steps(&tenant.spec, 0);
            steps.extend(rotate_steps(&tenant.spec, 1));
            steps.extend(retire_steps(&tenant.spec, 0));
            steps.extend(remove_steps(&tenant.spec, true));
            steps.retain(|step| !matches!(step, Step::Prove { .. }));
            shaken.run_all(&tenant, steps).await;
            assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
            drop(shaken);
            if mode == IsolationMode::Schema {
                drop_shared(&bench, &tenant).await;
            }
            let broke = tokio::time::timeout(Duration::ZERO, wire.cut.notified());
            if broke.await.is_err() {
                assert!(at > 10, "statements pass through the wire");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_was_half_made_can_be_removed() {
    let bench = Bench::shared();
    for mode in MODES {
        let whole = Tenant::new(mode, "aurora", "ledger", "onboarding");
        for done in 0..provision_steps(&whole.spec, 0).len() {
            let tenant = Tenant::new(mode, "aurora", "ledger", "onboarding");
            let steps = provision_steps(&tenant.spec, 0);
            bench.run_all(&tenant, steps[..done].to_vec()).await;
            bench.remove(&tenant).await;
            assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_database_that_was_made_and_not_marked_is_ours() {
    let bench = Bench::shared();
    let tenant = Tenant::new(IsolationMode::Database, "aurora", "ledger", "onboarding");
    let steps = provision_steps(&tenant.spec, 0);
    bench.run_all(&tenant, steps[..2].to_vec()).await;
    let admin = bench.admin("postgres").await;
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {} WITH OWNER lerianctl_databases TEMPLATE template0 \
             ALLOW_CONNECTIONS false",
            tenant.spec.names.database
        ))
        .await
        .unwrap();
    let found = bench.run(&tenant, Step::Database).await.unwrap();
    assert!(found.ends_with("finished"), "{found}");
    bench.run_all(&tenant, steps[3..].to_vec()).await;
    bench.remove(&tenant).await;
    assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_half_dropped_database_is_made_anew() {
    let bench = Bench::shared();
    let tenant = bench.tenant(IsolationMode::Database, "aurora").await;
    let admin = bench.admin("postgres").await;
    // What an interrupted DROP DATABASE leaves.
    admin
        .execute(
            "UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1",
            &[&tenant.spec.names.database],
        )
        .await
        .unwrap();
    bench
        .run_all(&tenant, provision_steps(&tenant.spec, 0))
        .await;
    bench.session(&tenant, 0).await;
    bench.remove(&tenant).await;
    assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
}
