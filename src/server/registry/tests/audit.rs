//! The audit log: one chain, kept together with what it tells of.

use super::places::mac_key;
use super::*;
use crate::audit::actions;
use crate::audit::{Verifier, draft};
use crate::contract::audit::{AuditRecord, AuditVerification};
use crate::server::registry::audit::AuditFilter;

fn record(action: &str, tenant: Option<&TenantId>) -> AuditRecord {
    let mut record = draft(action, now());
    record.tenant = tenant.map(ToString::to_string);
    record
}

fn oldest_first() -> AuditFilter {
    AuditFilter {
        oldest_first: true,
        ..AuditFilter::default()
    }
}

async fn actions(registry: &dyn Registry, filter: &AuditFilter) -> Vec<String> {
    let rows = registry.audit(filter, None, 1000).await.unwrap();
    rows.into_iter().map(|row| row.action).collect()
}

/// Follows the whole log.
pub(super) async fn verified(registry: &dyn Registry) -> AuditVerification {
    let key = mac_key();
    let mut verifier = Verifier::new(Some(&key), Some(AuditHead::origin()));
    let mut beyond = None;
    loop {
        let rows = registry.audit(&oldest_first(), beyond, 50).await.unwrap();
        let Some(last) = rows.last() else {
            return verifier.finish();
        };
        beyond = Some(last.sequence.unsigned_abs());
        for row in rows {
            verifier.take(row.seen());
        }
    }
}

/// A change and its entry are kept or lost together, and entries are found.
pub(super) async fn entries_are_kept_with_what_they_tell_of(registry: Arc<dyn Registry>) {
    let aurora = tenant("aurora");
    let mut commit = Commit::new(aurora.clone());
    commit.audit = vec![record(actions::TENANT_CREATE, Some(&aurora.id))];
    commit.operations.push(operation(OperationKind::Provision));
    let id = commit.operations[0].id.clone();
    registry.commit(commit).await.unwrap();
    // Refused: the slug is taken.
    let mut twin = Commit::new(tenant("aurora"));
    twin.audit = vec![record(actions::TENANT_CREATE, Some(&twin.tenant.id))];
    assert!(matches!(
        registry.commit(twin).await,
        Err(RegistryError::Stale)
    ));
    registry
        .append_audit(vec![record("a", None), record("b", None)])
        .await
        .unwrap();
    let begun = registry.begin(&id).await.unwrap().unwrap();
    for position in 0..2 {
        registry
            .step_done(StepDone {
                operation: id.clone(),
                attempt: begun.attempts,
                position,
                detail: String::new(),
                next: None,
            })
            .await
            .unwrap();
    }
    assert_eq!(
        actions(registry.as_ref(), &oldest_first()).await,
        [actions::TENANT_CREATE, "a", "b", actions::OPERATION_END]
    );
    let newest = AuditFilter {
        tenant: Some(aurora.id.to_string()),
        ..AuditFilter::default()
    };
    assert_eq!(
        actions(registry.as_ref(), &newest).await,
        [actions::OPERATION_END, actions::TENANT_CREATE]
    );
    let of_one = AuditFilter {
        action: Some("b".into()),
        caller: Some("server".into()),
        until: Some(now() + SignedDuration::from_hours(1)),
        ..AuditFilter::default()
    };
    assert_eq!(actions(registry.as_ref(), &of_one).await, ["b"]);
    let later = AuditFilter {
        since: Some(now() + SignedDuration::from_hours(1)),
        ..AuditFilter::default()
    };
    assert!(actions(registry.as_ref(), &later).await.is_empty());
    let page = registry.audit(&oldest_first(), Some(1), 2).await.unwrap();
    assert_eq!(
        page.iter().map(|row| row.sequence).collect::<Vec<_>>(),
        [2, 3]
    );

    let verified = verified(registry.as_ref()).await;
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!(verified.checked, 4);
    assert_eq!(registry.audit_head().await.unwrap(), verified.head);
}

/// Very many at once are written in parts, and are one chain in the order given.
pub(super) async fn many_entries_at_once_are_one_chain(registry: Arc<dyn Registry>) {
    let aurora = TenantId::generate();
    for count in [1, 300, 2] {
        let mut records: Vec<AuditRecord> = (0..count)
            .map(|number| record(&format!("{count}-{number}"), Some(&aurora)))
            .collect();
        records[0].tenant = None;
        registry.append_audit(records).await.unwrap();
    }
    let expected: Vec<String> = [1, 300, 2]
        .into_iter()
        .flat_map(|count| (0..count).map(move |number| format!("{count}-{number}")))
        .collect();
    assert_eq!(actions(registry.as_ref(), &oldest_first()).await, expected);
    let of_one = AuditFilter {
        tenant: Some(aurora.to_string()),
        ..oldest_first()
    };
    assert_eq!(actions(registry.as_ref(), &of_one).await.len(), 300);
    let verified = verified(registry.as_ref()).await;
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!(verified.checked, 303);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_write_one_chain() {
    let (a, b) = super::servers::two().await;
    let servers: [Arc<dyn Registry>; 2] = [Arc::new(a), Arc::new(b)];
    let mut tasks = Vec::new();
    for number in 0..40 {
        let server = Arc::clone(&servers[number % 2]);
        tasks.push(tokio::spawn(async move {
            let tenant = tenant(&format!("tenant-{number}"));
            let mut commit = Commit::new(tenant.clone());
            commit.audit = vec![record(actions::TENANT_CREATE, Some(&tenant.id))];
            server.commit(commit).await.unwrap();
            let reads = vec![record(actions::CREDENTIALS_READ, Some(&tenant.id)); 3];
            server.append_audit(reads).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for server in &servers {
        let verified = verified(server.as_ref()).await;
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
        assert_eq!(verified.checked, 40 * 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_itself_refuses_to_change_the_log() {
    let (registry, _other) = super::servers::two().await;
    registry
        .append_audit(vec![record("a", None), record("b", None)])
        .await
        .unwrap();
    for sql in [
        "UPDATE audit SET caller = 'x' WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 1",
        "TRUNCATE audit",
    ] {
        let refused = registry.refuses_sql(sql).await;
        assert!(refused.contains("audit log"), "{refused}");
    }
    registry
        .try_sql("DROP TRIGGER audit_is_not_changed ON audit; UPDATE audit SET caller = 'x' WHERE sequence = 1")
        .await;
    let found = verified(&registry).await.findings;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].sequence, 1);
}
