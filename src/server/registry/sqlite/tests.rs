//! What only the registry on SQLite promises, tried on real files.

use std::os::unix::fs::PermissionsExt as _;

use super::super::tests::{stored, tenant};
use super::super::*;
use super::SqliteRegistry;
use crate::contract::event::EventType;
use crate::server::service::event;

fn open() -> (SqliteRegistry, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let registry = SqliteRegistry::open(&folder.path().join("registry.sqlite")).unwrap();
    (registry, folder)
}

#[tokio::test]
async fn a_full_disk_refuses_everything_and_leaves_nothing_half_made() {
    let (registry, folder) = open();
    let before = tenant("before");
    registry.commit(Commit::new(before.clone())).await.unwrap();
    registry.limit_pages(1).await;
    let mut refused = 0;
    for number in 0..200 {
        let mut commit = Commit::new(tenant(&format!("tenant-{number}")));
        commit.tenant.name = "x".repeat(2000);
        commit.events = vec![event(&commit.tenant, EventType::TenantCreated, None)];
        let id = commit.tenant.id.clone();
        let result = registry.commit(commit).await;
        let found = registry.tenant(TenantKey::Id(&id)).await.unwrap();
        match result {
            Ok(()) => assert!(found.is_some()),
            Err(RegistryError::Unavailable(_)) => {
                refused += 1;
                assert!(found.is_none());
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 100, "{refused} of 200 were refused");
    assert_eq!(stored(&registry, &before).await.name, "before");
    let tenants = registry
        .tenants(&TenantFilter::default(), None, 1000)
        .await
        .unwrap();
    let events = registry.outbox(0, 1000).await.unwrap();
    assert_eq!(events.len() + 1, tenants.len(), "an event for each");

    registry.limit_pages(1_000_000).await;
    let after = tenant("after");
    registry.commit(Commit::new(after.clone())).await.unwrap();
    assert_eq!(stored(&registry, &after).await.name, "after");
    drop(folder);
}

#[tokio::test]
async fn the_file_is_private_and_belongs_to_one_server() {
    let (registry, folder) = open();
    let path = folder.path().join("registry.sqlite");
    registry.writable().await.unwrap();
    for name in [
        "registry.sqlite",
        "registry.sqlite-wal",
        "registry.sqlite.lock",
    ] {
        let mode = std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let refused = SqliteRegistry::open(&path).unwrap_err();
    assert!(refused.contains("another server"), "{refused}");

    registry.close().await;
    assert!(matches!(
        registry.writable().await,
        Err(RegistryError::Unavailable(_))
    ));
    let again = SqliteRegistry::open(&path).unwrap();
    again.writable().await.unwrap();
}
