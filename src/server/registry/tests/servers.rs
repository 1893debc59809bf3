//! Several servers on one registry.

use std::time::Duration;

use jiff::SignedDuration;

use super::places::{endpoint, mac_key, schema, server};
use super::*;
use crate::server::registry::postgres::PostgresRegistry;

/// Two servers on one new registry.
pub(super) async fn two() -> (PostgresRegistry, PostgresRegistry) {
    two_in(&schema()).await
}

async fn two_in(schema: &str) -> (PostgresRegistry, PostgresRegistry) {
    let endpoint = endpoint();
    // Both make the schema: one of them waits for the other.
    let (a, b) = tokio::join!(
        PostgresRegistry::open(&endpoint, schema),
        PostgresRegistry::open(&endpoint, schema)
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    a.audit_with(Arc::new(mac_key()));
    b.audit_with(Arc::new(mac_key()));
    (a, b)
}

fn done(operation: &Operation, position: u32) -> StepDone {
    StepDone {
        operation: operation.id.clone(),
        attempt: operation.attempts,
        position,
        detail: "done".into(),
        next: None,
    }
}

/// Lets every lease run out.
async fn lapse(registry: &PostgresRegistry) {
    registry
        .try_sql("UPDATE operations SET lease_until = clock_timestamp() - interval '1 second' WHERE holder IS NOT NULL")
        .await;
}

#[tokio::test]
async fn an_operation_and_its_tenant_belong_to_one_server_at_a_time() {
    let (a, b) = two().await;
    let aurora = tenant("aurora");
    let mut commit = Commit::new(aurora.clone());
    let mut retire = operation(OperationKind::Retire);
    retire.not_before = Some(now() + SignedDuration::from_hours(1));
    let first = operation(OperationKind::Provision);
    commit.operations = vec![retire.clone(), first.clone()];
    a.commit(commit).await.unwrap();

    let begun = a.begin(&first.id).await.unwrap().unwrap();
    assert!(b.begin(&first.id).await.unwrap().is_none());
    assert!(b.due(now(), 10).await.unwrap().is_empty());
    // The other one of the tenant becomes due meanwhile, and is first in line.
    let mut commit = Commit::new(stored(&a, &aurora).await);
    commit.reschedule = vec![(retire.id.clone(), now())];
    b.commit(commit).await.unwrap();
    assert!(b.due(now(), 10).await.unwrap().is_empty());
    assert!(b.begin(&retire.id).await.unwrap().is_none());
    // Nor is it stolen by a server that starts, or that was not the one to begin it.
    assert!(b.interrupted().await.unwrap().is_empty());
    assert!(matches!(
        b.step_done(done(&begun, 0)).await,
        Err(RegistryError::Stale)
    ));
    a.step_done(done(&begun, 0)).await.unwrap();
    a.step_done(done(&begun, 1)).await.unwrap();
    let due = b.due(now(), 10).await.unwrap();
    assert_eq!(due[0].0, retire.id);
    assert!(b.begin(&retire.id).await.unwrap().is_some());
}

#[tokio::test]
async fn what_a_lost_server_holds_is_taken_over_and_its_late_word_is_ignored() {
    let (a, b) = two().await;
    let aurora = tenant("aurora");
    let mut commit = Commit::new(aurora.clone());
    let first = operation(OperationKind::Provision);
    commit.operations = vec![first.clone()];
    a.commit(commit).await.unwrap();
    let lost = a.begin(&first.id).await.unwrap().unwrap();
    let ids = [first.id.clone()];
    assert_eq!(a.renew(&ids).await.unwrap(), ids);
    assert!(b.renew(&ids).await.unwrap().is_empty());

    lapse(&a).await;
    assert_eq!(b.due(now(), 10).await.unwrap().len(), 1);
    let taken = b.begin(&first.id).await.unwrap().unwrap();
    assert_eq!(taken.attempts, 2);
    assert!(a.renew(&ids).await.unwrap().is_empty());
    for late in [
        a.step_done(done(&lost, 0)).await,
        a.commit(Commit {
            step: Some(done(&lost, 0)),
            ..Commit::new(stored(&a, &aurora).await)
        })
        .await,
    ] {
        assert!(matches!(late, Err(RegistryError::Stale)), "{late:?}");
    }
    let failed = Setback::Failed(Some(0));
    a.setback(&first.id, Some(1), failed, "late").await.unwrap();
    a.release(&first.id, 1).await.unwrap();
    let now_is = b.operation(&first.id).await.unwrap().unwrap();
    assert_eq!(now_is.state, OperationState::Running);
    assert!(
        now_is
            .steps
            .iter()
            .all(|step| step.state != OperationState::Succeeded)
    );
    assert!(a.due(now(), 10).await.unwrap().is_empty());

    // A change that is a step is made once, even if word of it was lost.
    let mut commit = Commit::new(stored(&b, &aurora).await);
    commit.step = Some(done(&taken, 0));
    b.commit(commit).await.unwrap();
    let mut again = Commit::new(stored(&b, &aurora).await);
    again.step = Some(done(&taken, 0));
    assert!(matches!(b.commit(again).await, Err(RegistryError::Stale)));

    // What was ended from outside stays with its server until that one has let go.
    let mut commit = Commit::new(stored(&a, &aurora).await);
    commit.supersede = vec![(first.id.clone(), "gone".into())];
    let purge = operation(OperationKind::Purge);
    commit.operations = vec![purge.clone()];
    a.commit(commit).await.unwrap();
    assert!(a.begin(&purge.id).await.unwrap().is_none());
    b.release(&first.id, 2).await.unwrap();
    assert!(a.begin(&purge.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_servers_never_hold_two_operations_of_one_tenant() {
    let (endpoint, schema) = (endpoint(), schema());
    let mut servers = Vec::new();
    for _ in 0..4 {
        let opened = PostgresRegistry::open(&endpoint, &schema).await;
        servers.push(Arc::new(opened.unwrap()));
    }
    let mut ids = Vec::new();
    for number in 0..10 {
        let mut commit = Commit::new(tenant(&format!("tenant-{number}")));
        commit.operations = (0..4)
            .map(|_| operation(OperationKind::Provision))
            .collect();
        ids.extend(commit.operations.iter().map(|op| op.id.clone()));
        servers[0].commit(commit).await.unwrap();
    }
    let mut tasks = Vec::new();
    for server in servers {
        let ids = ids.clone();
        tasks.push(tokio::spawn(async move {
            let mut held = Vec::new();
            for id in ids {
                if let Some(begun) = server.begin(&id).await.unwrap() {
                    held.push(begun.tenant_id.to_string());
                }
            }
            held
        }));
    }
    let mut held = Vec::new();
    for task in tasks {
        held.extend(task.await.unwrap());
    }
    held.sort();
    let all = held.len();
    held.dedup();
    assert_eq!((all, held.len()), (10, 10));
}

#[tokio::test]
async fn one_server_publishes_and_the_next_waits_until_it_is_safe() {
    let schema = schema();
    let (a, b) = two_in(&schema).await;
    let grace = Duration::from_millis(600);
    assert!(a.leads(grace).await.unwrap());
    assert!(!b.leads(grace).await.unwrap());
    assert!(a.leads(grace).await.unwrap());
    // In good order the next one goes on at once.
    a.close().await;
    assert!(b.leads(grace).await.unwrap());

    // Otherwise what the lost one began to publish is waited out.
    let c = PostgresRegistry::open(&endpoint(), &schema).await.unwrap();
    b.lose_sessions().await;
    let begun = std::time::Instant::now();
    while !c.leads(grace).await.unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() >= grace);
    assert!(b.leads(grace).await.is_err() || !b.leads(grace).await.unwrap());
}

#[tokio::test]
async fn servers_hear_of_each_other_and_see_every_acknowledged_change() {
    let (a, b) = two().await;
    let mut heard = b.signals().unwrap();
    assert_eq!(heard.recv().await, Some(Signal::Anything));
    let known = b.changes(None).await.unwrap().last;
    let aurora = tenant("aurora");
    let mut commit = Commit::new(aurora.clone());
    let first = operation(OperationKind::Provision);
    commit.operations = vec![first.clone()];
    commit.events = vec![event(&aurora, EventType::TenantCreated, None)];
    a.commit(commit).await.unwrap();
    let changes = b.changes(Some(known)).await.unwrap();
    assert_eq!(changes.tenants, std::slice::from_ref(&aurora.id));
    assert!(changes.last > known);
    let next = b.changes(Some(changes.last)).await.unwrap();
    assert_eq!((next.tenants.len(), next.last), (0, changes.last));
    assert_eq!(heard.recv().await, Some(Signal::Work));
    assert_eq!(heard.recv().await, Some(Signal::Mail));
    a.begin(&first.id).await.unwrap();
    assert_eq!(heard.recv().await, Some(Signal::Operation(first.id)));

    // A session that was lost says so, once; then it begins anew.
    b.lose_sessions().await;
    assert!(b.changes(Some(changes.last)).await.is_err());
    assert_eq!(b.changes(None).await.unwrap().last, changes.last);
    assert_eq!(heard.recv().await, Some(Signal::Anything));
}

#[tokio::test]
async fn a_change_of_keys_is_told_with_the_changes_of_tenants() {
    let (a, b) = two().await;
    let (known, few) = {
        let changes = b.changes(None).await.unwrap();
        (changes.last, changes.keys)
    };
    a.revoke_access_keys(Vec::new(), now(), Vec::new())
        .await
        .unwrap();
    let changes = b.changes(Some(known)).await.unwrap();
    assert_eq!((changes.last, changes.tenants.len()), (known, 0));
    assert!(changes.keys > few, "{} after {few}", changes.keys);
    assert_eq!(b.changes(None).await.unwrap().keys, changes.keys);
    assert_eq!(b.access_keys_revision().await.unwrap(), changes.keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_not_asked() {
    let mut server = server().await;
    let registry = PostgresRegistry::open(&server.endpoint(), "lerianctl").await;
    let registry = registry.unwrap();
    let aurora = tenant("aurora");
    registry.commit(Commit::new(aurora.clone())).await.unwrap();
    // Reads are answered by a standby as readily as by a primary.
    let signal = server.data().join("standby").with_extension("signal");
    std::fs::write(signal, "").unwrap();
    server.restart().await.unwrap();
    let session = server.endpoint().connect().await.unwrap();
    let count = session.query_one("SELECT count(*) FROM lerianctl.tenants", &[]);
    assert_eq!(count.await.unwrap().get::<_, i64>(0), 1);
    let refused = [
        registry.tenant(TenantKey::Id(&aurora.id)).await.map(drop),
        registry.changes(None).await.map(drop),
    ];
    for refused in refused {
        let Err(RegistryError::Unavailable(reason)) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("standby"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_come_in_the_order_of_the_commits() {
    let (a, b) = two().await;
    let (a, b) = (Arc::new(a), Arc::new(b));
    let mut known = b.changes(None).await.unwrap().last;
    let writing = Arc::clone(&a);
    let writer = tokio::spawn(async move {
        let mut tasks = Vec::new();
        for number in 0..100 {
            let writing = Arc::clone(&writing);
            tasks.push(tokio::spawn(async move {
                let commit = Commit::new(tenant(&format!("tenant-{number}")));
                writing.commit(commit).await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let ended = writer.is_finished();
        let changes = b.changes(Some(known)).await.unwrap();
        known = changes.last;
        seen.extend(changes.tenants.iter().map(ToString::to_string));
        if ended {
            break;
        }
    }
    writer.await.unwrap();
    let all = a.tenants(&TenantFilter::default(), None, 1000).await;
    assert_eq!(seen.len(), all.unwrap().len());
}

#[tokio::test]
async fn a_newer_a_changed_and_a_foreign_schema_are_refused() {
    let (endpoint, schema) = (endpoint(), schema());
    let dry = PostgresRegistry::migrate(&endpoint, &schema, true);
    let dry = dry.await.unwrap();
    assert!(dry.iter().all(|migration| !migration.applied));
    let registry = PostgresRegistry::open(&endpoint, &schema).await.unwrap();
    let again = PostgresRegistry::migrate(&endpoint, &schema, false);
    assert!(
        again
            .await
            .unwrap()
            .iter()
            .all(|migration| migration.applied)
    );

    // What a newer program added does no harm, unless it says that it does.
    let add = "INSERT INTO schema_migrations (version, name, checksum, needs) VALUES (99, 'later', 'x', 1)";
    registry.try_sql(add).await;
    PostgresRegistry::open(&endpoint, &schema).await.unwrap();
    registry
        .try_sql("UPDATE schema_migrations SET needs = 99 WHERE version = 99")
        .await;
    let refused = PostgresRegistry::open(&endpoint, &schema)
        .await
        .unwrap_err();
    assert!(refused.contains("use a newer lerianctl"), "{refused}");
    registry
        .try_sql("DELETE FROM schema_migrations WHERE version = 99")
        .await;
    registry
        .try_sql("UPDATE schema_migrations SET checksum = 'x' WHERE version = 1")
        .await;
    let refused = PostgresRegistry::open(&endpoint, &schema)
        .await
        .unwrap_err();
    assert!(refused.contains("different build"), "{refused}");

    let other = super::places::schema();
    registry
        .try_sql(&format!(
            "CREATE SCHEMA {other}; CREATE TABLE {other}.photos ()"
        ))
        .await;
    let refused = PostgresRegistry::open(&endpoint, &other).await.unwrap_err();
    assert!(refused.contains("not a registry"), "{refused}");
    for bad in ["", "Lerian", "pg_x", "a b", "1a", "a;b"] {
        assert!(
            PostgresRegistry::open(&endpoint, bad).await.is_err(),
            "{bad}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_paged_in_the_order_in_which_they_were_committed() {
    let (a, b) = two().await;
    let a = Arc::new(a);
    let mut writers = Vec::new();
    for number in 0..4 {
        let a = Arc::clone(&a);
        writers.push(tokio::spawn(async move {
            let mut at = tenant(&format!("tenant-{number}"));
            let mut made = Vec::new();
            for _ in 0..40 {
                let mut commit = Commit::new(at.clone());
                commit.events = (0..3)
                    .map(|_| event(&at, EventType::TenantUpdated, None))
                    .collect();
                made.extend(commit.events.iter().map(|event| event.id.clone()));
                a.commit(commit).await.unwrap();
                at.revision += 1;
            }
            (at.id.to_string(), made)
        }));
    }
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let ended = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let mut after = 0;
        let mut any = false;
        loop {
            let page = b.outbox(after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.sequence;
            any = true;
            let marks = page.iter().map(|row| (row.sequence, 1)).collect();
            for row in page {
                let tenant = row.tenant_id.to_string();
                told.entry(tenant).or_default().push(row.event_id);
            }
            b.published(marks).await.unwrap();
        }
        if ended && !any {
            break;
        }
    }
    for writer in writers {
        let (tenant, made) = writer.await.unwrap();
        assert_eq!(told[&tenant], made);
    }
}
