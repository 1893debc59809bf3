//! What the registry promises, tried on a real file and on a real PostgreSQL.

mod audit;
mod leases;
mod places;
mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use self::audit::{entries_are_kept_with_what_they_tell_of, many_entries_at_once_are_one_chain};
use super::model::now;
use super::*;
use crate::contract::admin::{OperationState, PlannedStep, TenantStatus};
use crate::contract::event::EventType;
use crate::server::service::event;

/// Makes two tests of every story: one per implementation.
macro_rules! on_each {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                let (registry, folder) = super::places::on_sqlite();
                super::$story(registry).await;
                drop(folder);
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(super::places::on_postgres().await).await;
            })*
        }
    };
}

on_each!(
    a_change_of_what_changed_meanwhile_is_refused_whole,
    writes_that_are_committed_together_fail_one_by_one,
    operations_of_a_tenant_wait_for_each_other_and_scheduled_ones_stand_aside,
    events_are_numbered_kept_in_order_and_forgotten_only_once_published,
    the_first_page_costs_the_same_however_many_tenants_there_are,
    entries_are_kept_with_what_they_tell_of,
    many_entries_at_once_are_one_chain,
    a_check_of_isolation_is_one_servers_at_a_time,
    other_bootstrap_keys_are_a_change_of_keys,
);

pub(super) fn tenant(slug: &str) -> Tenant {
    Tenant {
        id: TenantId::generate(),
        slug: slug.parse().unwrap(),
        name: slug.to_owned(),
        environment: "production".parse().unwrap(),
        isolation_mode: IsolationMode::Database,
        status: TenantStatus::Active,
        metadata: BTreeMap::new(),
        owner: StoredOwner::default(),
        associations: BTreeMap::new(),
        created_at: now(),
        updated_at: now(),
        revision: 0,
    }
}

fn operation(kind: OperationKind) -> NewOperation {
    let step = |action: &str| NewStep {
        work: Work::AwaitEvents,
        planned: PlannedStep {
            action: action.into(),
            target: "x".into(),
            sql: Vec::new(),
        },
    };
    NewOperation::new(kind, Vec::new(), vec![step("first"), step("second")], now())
}

pub(super) async fn stored(registry: &dyn Registry, tenant: &Tenant) -> Tenant {
    registry
        .tenant(TenantKey::Id(&tenant.id))
        .await
        .unwrap()
        .unwrap()
}

async fn a_change_of_what_changed_meanwhile_is_refused_whole(registry: Arc<dyn Registry>) {
    let aurora = tenant("aurora");
    registry.commit(Commit::new(aurora.clone())).await.unwrap();

    let read = stored(registry.as_ref(), &aurora).await;
    let mut first = Commit::new(read.clone());
    first.tenant.name = "first".into();
    registry.commit(first).await.unwrap();

    let mut second = Commit::new(read.clone());
    second.tenant.name = "second".into();
    second.operations.push(operation(OperationKind::Purge));
    second.events = vec![event(&read, EventType::TenantDeleted, None)];
    assert!(matches!(
        registry.commit(second).await,
        Err(RegistryError::Stale)
    ));
    assert_eq!(stored(registry.as_ref(), &aurora).await.name, "first");
    assert!(registry.unfinished(&aurora.id).await.unwrap().is_empty());
    assert!(registry.outbox(0, 10).await.unwrap().is_empty());

    // The same slug under another id, and an answer that someone else has kept.
    let twin = registry.commit(Commit::new(tenant("aurora"))).await;
    assert!(matches!(twin, Err(RegistryError::Stale)));
    let replay = Replay {
        key: "k".into(),
        fingerprint: "f".into(),
        status: 200,
        body: "{}".into(),
    };
    for (slug, good) in [("borealis", true), ("celeste", false)] {
        let mut commit = Commit::new(tenant(slug));
        commit.replay = Some(replay.clone());
        let id = commit.tenant.id.clone();
        assert_eq!(registry.commit(commit).await.is_ok(), good);
        let found = registry.tenant(TenantKey::Id(&id)).await.unwrap();
        assert_eq!(found.is_some(), good, "nothing half-made");
    }
}

async fn a_check_of_isolation_is_one_servers_at_a_time(registry: Arc<dyn Registry>) {
    use super::isolation::{CheckDone, CheckEnd, CheckState, StoredReport};
    let hour = std::time::Duration::from_hours(1);
    let end = |run: &str, end| CheckDone {
        run: run.to_owned(),
        end,
        audit: Vec::new(),
    };
    assert_eq!(registry.check_state().await.unwrap(), CheckState::default());
    assert!(registry.begin_check("a", hour).await.unwrap());
    assert!(!registry.begin_check("b", hour).await.unwrap());
    assert!(registry.renew_check("a").await.unwrap());
    assert!(!registry.renew_check("b").await.unwrap());
    // Asked for while it goes on, it is done once more afterwards.
    registry.ask_check(Vec::new()).await.unwrap();
    registry.ask_check(Vec::new()).await.unwrap();
    let summary: crate::contract::isolation::IsolationSummary =
        serde_json::from_value(serde_json::json!({
            "run": "a", "startedAt": "2026-01-01T00:00:00Z", "durationSeconds": 1.0,
            "verdict": "holds", "because": "x", "findings": {"low": 1}, "waived": 0,
            "checks": {}, "notTested": 0, "tenants": 1, "databases": 1, "databasesRead": 1,
            "logins": 1, "loginsTried": 1, "probes": 1, "planted": 1, "detected": 1,
            "signed": false
        }))
        .unwrap();
    let stored = StoredReport {
        report: "{ }".into(),
        attestation: None,
    };
    let done = CheckEnd::Done(Box::new(summary.clone()), stored.clone());
    let foreign = end("b", done.clone());
    assert!(!registry.end_check(foreign).await.unwrap());
    assert!(registry.check_report().await.unwrap().is_none());
    assert!(registry.end_check(end("a", done)).await.unwrap());
    assert_eq!(registry.check_report().await.unwrap(), Some(stored.clone()));
    let state = registry.check_state().await.unwrap();
    assert_eq!(state.last, Some(summary.clone()));
    assert!(state.holder.is_none() && state.asked_at.is_some());
    assert!(registry.begin_check("b", hour).await.unwrap());
    assert!(registry.check_state().await.unwrap().asked_at.is_none());
    // One that could not look leaves the report before it, and says so.
    let failure = crate::contract::isolation::IsolationFailure {
        at: now(),
        reason: "blind".into(),
    };
    let failed = end("b", CheckEnd::Failed(failure.clone()));
    assert!(registry.end_check(failed).await.unwrap());
    let state = registry.check_state().await.unwrap();
    assert_eq!(
        state.failed.map(|failed| failed.reason),
        Some(failure.reason)
    );
    assert_eq!(state.last, Some(summary));
    assert_eq!(registry.check_report().await.unwrap(), Some(stored));
    assert!(!registry.begin_check("c", hour).await.unwrap(), "not due");
    // Left by a server that stops, it is anybody's at once.
    let short = std::time::Duration::from_micros(1);
    assert!(registry.begin_check("d", short).await.unwrap());
    let stopped = end("d", CheckEnd::Stopped);
    assert!(registry.end_check(stopped).await.unwrap());
    assert!(registry.begin_check("e", hour).await.unwrap());
}

async fn other_bootstrap_keys_are_a_change_of_keys(registry: Arc<dyn Registry>) {
    let keys = |digests: &[&str]| Some(digests.iter().map(ToString::to_string).collect());
    let revision = async || registry.access_keys_revision().await.unwrap();
    let mut seen = vec![revision().await];
    for digests in [&["11111111"][..], &["11111111", "22222222"], &[]] {
        let stored = registry.api_keys(keys(digests)).await.unwrap();
        assert_eq!(stored, digests);
        assert_eq!(registry.api_keys(None).await.unwrap(), digests);
        seen.push(revision().await);
        // Servers that start again with the same keys change nothing.
        registry.api_keys(keys(digests)).await.unwrap();
        assert_eq!(seen.last(), Some(&revision().await));
    }
    assert!(
        seen.is_sorted_by(|before, after| before < after),
        "{seen:?}"
    );
}

async fn writes_that_are_committed_together_fail_one_by_one(registry: Arc<dyn Registry>) {
    let mut tasks = Vec::new();
    for number in 0..200 {
        let registry = Arc::clone(&registry);
        // Every slug is asked for twice.
        let slug = format!("tenant-{}", number / 2);
        tasks.push(tokio::spawn(async move {
            registry.commit(Commit::new(tenant(&slug))).await.is_ok()
        }));
    }
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.unwrap());
    }
    assert_eq!(made, 100);
    let page = registry
        .tenants(&TenantFilter::default(), None, 1000)
        .await
        .unwrap();
    assert_eq!(page.len(), 100);
}

async fn operations_of_a_tenant_wait_for_each_other_and_scheduled_ones_stand_aside(
    registry: Arc<dyn Registry>,
) {
    let (aurora, borealis) = (tenant("aurora"), tenant("borealis"));
    let later = now() + SignedDuration::from_hours(1);
    let mut retire = operation(OperationKind::Retire);
    retire.not_before = Some(later);
    let (first, second) = (
        operation(OperationKind::Provision),
        operation(OperationKind::Purge),
    );
    let other = operation(OperationKind::Provision);
    let mut commit = Commit::new(aurora.clone());
    commit.operations = vec![retire.clone(), first.clone(), second.clone()];
    registry.commit(commit).await.unwrap();
    let mut commit = Commit::new(borealis);
    commit.operations = vec![other.clone()];
    registry.commit(commit).await.unwrap();

    let due = async |at| -> Vec<String> {
        let due = registry.due(at, 10).await.unwrap();
        due.into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(due(now()).await, [first.id.clone(), other.id.clone()]);
    assert_eq!(registry.next_due(now()).await.unwrap(), Some(later));

    // One that waits for another try keeps its place.
    registry.begin(&first.id).await.unwrap().unwrap();
    registry
        .setback(&first.id, Some(1), Setback::Retry(later), "gone")
        .await
        .unwrap();
    assert_eq!(due(now()).await, std::slice::from_ref(&other.id));
    let interrupted = registry.interrupted().await.unwrap();
    if registry.lease().is_none() {
        assert_eq!(interrupted, std::slice::from_ref(&first.id));
    }
    assert_eq!(due(now()).await, [first.id.clone(), other.id.clone()]);

    let begun = registry.begin(&first.id).await.unwrap().unwrap();
    assert_eq!(begun.attempts, 2);
    for position in [0, 1] {
        registry
            .step_done(StepDone {
                operation: first.id.clone(),
                attempt: 2,
                position,
                detail: "done".into(),
                next: None,
            })
            .await
            .unwrap();
    }
    let ended = registry.operation(&first.id).await.unwrap().unwrap();
    assert_eq!(ended.state, OperationState::Succeeded);
    assert!(registry.begin(&first.id).await.unwrap().is_none());
    assert_eq!(due(now()).await, [second.id.clone(), other.id.clone()]);

    // Once its time has come it is first again.
    assert_eq!(due(later).await, [retire.id.clone(), other.id.clone()]);
    registry
        .setback(&second.id, None, Setback::Failed(Some(0)), "no")
        .await
        .unwrap();
    let failed = registry.operation(&second.id).await.unwrap().unwrap();
    assert_eq!(failed.state, OperationState::Failed);
    assert_eq!(failed.steps[0].state, OperationState::Failed);
    assert_eq!(failed.steps[1].state, OperationState::Pending);
}

async fn events_are_numbered_kept_in_order_and_forgotten_only_once_published(
    registry: Arc<dyn Registry>,
) {
    let aurora = tenant("aurora");
    let mut commit = Commit::new(aurora.clone());
    commit.events = vec![
        event(&aurora, EventType::TenantCreated, None),
        event(&aurora, EventType::CredentialsRotated, None),
        event(&aurora, EventType::TenantSuspended, None),
    ];
    registry.commit(commit).await.unwrap();
    let rows = registry.outbox(0, 10).await.unwrap();
    assert_eq!(
        rows.iter()
            .map(|row| (row.event_type.as_str(), row.paced))
            .collect::<Vec<_>>(),
        [
            ("tenant.created", false),
            ("tenant.credentials.rotated", true),
            ("tenant.suspended", false)
        ]
    );
    assert!(registry.outbox_urgent(&aurora.id).await.unwrap());
    registry
        .published(vec![(rows[0].sequence, 2), (rows[2].sequence, 0)])
        .await
        .unwrap();
    assert!(!registry.outbox_urgent(&aurora.id).await.unwrap());
    assert!(registry.outbox_waits(&aurora.id, now()).await.unwrap());

    let future = now() + SignedDuration::from_hours(1);
    assert_eq!(registry.prune(future, future).await.unwrap(), 2);
    assert_eq!(registry.outbox(0, 10).await.unwrap().len(), 1);
    assert_eq!(registry.statistics().await.unwrap().outbox_depth, 1);

    // Products of other environments do not listen: kept, not published.
    let mut local = tenant("local");
    local.environment = "development".parse().unwrap();
    let mut commit = Commit::new(local.clone());
    commit.events = vec![event(&local, EventType::TenantCreated, None)];
    registry.commit(commit).await.unwrap();
    assert_eq!(registry.outbox(0, 10).await.unwrap().len(), 1);
    assert_eq!(registry.statistics().await.unwrap().outbox_undeliverable, 1);
}

/// How long the first page of tenants takes, at best.
async fn first_page(registry: &dyn Registry, filter: &TenantFilter) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..30 {
        let begun = std::time::Instant::now();
        assert_eq!(
            registry.tenants(filter, None, 101).await.unwrap().len(),
            101
        );
        best = best.min(begun.elapsed());
    }
    best
}

/// Rows that are no one's, to see what their number costs; `?` is how many.
const MANY: &str = "INSERT INTO tenants (id, slug, name, environment, isolation_mode, status, metadata,
        owner_email, owner_email_verified, search_text, revision, created_at, updated_at)
     SELECT SERIES_ID, 'many-' || n, 'Many', 'production', 'database', 'active', '{}', '', FALSE, 'many-' || n, 1, 0, 0
     FROM SERIES;
     INSERT INTO associations (tenant_id, service, isolation_mode, state, ready, credentials_version, settings, created_at, updated_at)
     SELECT id, 'tracer', 'database', 'live', TRUE, 1, '{}', 0, 0 FROM tenants
     WHERE NOT EXISTS (SELECT 1 FROM associations WHERE tenant_id = id)";

async fn the_first_page_costs_the_same_however_many_tenants_there_are(registry: Arc<dyn Registry>) {
    let listing = TenantFilter::default();
    registry.fill(MANY, 1, 1000).await;
    let few = first_page(registry.as_ref(), &listing).await;
    registry.fill(MANY, 1001, 100_000).await;
    let many = first_page(registry.as_ref(), &listing).await;
    assert!(
        many < few * 4,
        "{few:?} with 1,000 and {many:?} with 100,000"
    );
    let count = registry.count_active("tracer", &[]).await.unwrap();
    assert_eq!(count, 100_000);
}
