//! Keys over the life of a registry.

use super::*;
use crate::server::registry::sqlite::SqliteRegistry;
use crate::server::registry::{Commit, StoredOwner, Tenant, TenantKey};

fn key(text: &str) -> MasterKey {
    Secret::new(text).into()
}

fn registry(folder: &tempfile::TempDir) -> SqliteRegistry {
    SqliteRegistry::open(&folder.path().join("registry.sqlite")).unwrap()
}

fn tenant(slug: &str) -> Tenant {
    Tenant {
        id: TenantId::generate(),
        slug: slug.parse().unwrap(),
        name: slug.to_owned(),
        environment: "production".parse().unwrap(),
        isolation_mode: crate::contract::wire::IsolationMode::Database,
        status: crate::contract::admin::TenantStatus::Active,
        metadata: BTreeMap::new(),
        owner: StoredOwner::default(),
        associations: BTreeMap::new(),
        created_at: now(),
        updated_at: now(),
        revision: 0,
    }
}

/// Keeps the password hash of an owner, sealed by `vault`.
async fn keep_owner(registry: &SqliteRegistry, vault: &Vault, slug: &str, hash: &str) -> TenantId {
    let mut tenant = tenant(slug);
    tenant.owner.sealed_password_hash = Some(vault.seal_owner(&tenant.id, hash));
    let id = tenant.id.clone();
    registry.commit(Commit::new(tenant)).await.unwrap();
    id
}

async fn owner(registry: &SqliteRegistry, vault: &Vault, id: &TenantId) -> String {
    let found = registry.tenant(TenantKey::Id(id)).await.unwrap().unwrap();
    let sealed = found.owner.sealed_password_hash.unwrap();
    let opened = vault.open_sealed(&sealed, &owner_context(id)).unwrap();
    opened.expose().to_owned()
}

#[test]
fn a_password_opens_only_in_its_place() {
    let vault = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
    let (tenant, service) = (TenantId::generate(), "tracer".parse().unwrap());
    let place = Place {
        tenant: &tenant,
        service: &service,
        module: "tracer",
        version: 1,
    };
    let sealed = vault.seal_password(&place, &Secret::new("hunter2"));
    assert_eq!(
        vault.open_password(&place, &sealed).unwrap().expose(),
        "hunter2"
    );
    let next = Place {
        version: 2,
        ..place
    };
    assert!(vault.open_password(&next, &sealed).is_err());
}

#[test]
fn ids_are_stable_and_differ_by_environment() {
    let vault = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
    let slug = "aurora".parse().unwrap();
    let id = |environment: &str| vault.tenant_id(&environment.parse().unwrap(), &slug);
    assert_eq!(id("staging"), id("staging"));
    assert_ne!(id("staging"), id("production"));
    let other = Vault::new(&Secret::new("another master key")).unwrap();
    assert_ne!(
        other.tenant_id(&"staging".parse().unwrap(), &slug),
        id("staging")
    );
}

#[tokio::test]
async fn another_master_key_is_refused_until_the_previous_one_is_given_too() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(&folder);
    let (old, new) = (key("0123456789abcdef"), key("fedcba9876543210"));
    let vault = Vault::open(&registry, &old, None).await.unwrap();
    let id = keep_owner(&registry, &vault, "aurora", "hash").await;
    let slug: Slug = "aurora".parse().unwrap();
    let made = vault.tenant_id(&"production".parse().unwrap(), &slug);
    let digest = vault.api_key_digest(b"an API key");

    let before = registry.data_keys().await.unwrap().keys;
    let refused = Vault::open(&registry, &new, None).await.unwrap_err();
    assert!(matches!(refused, VaultError::MasterKey(_)), "{refused}");
    assert!(refused.to_string().contains(old.id()), "{refused}");
    assert_eq!(registry.data_keys().await.unwrap().keys, before);

    // With both, every key is wrapped anew, and nothing that came from them changes.
    let vault = Vault::open(&registry, &new, Some(&old)).await.unwrap();
    assert_eq!(owner(&registry, &vault, &id).await, "hash");
    let after = registry.data_keys().await.unwrap().keys;
    assert!(after.iter().all(|key| key.master == new.id()));
    assert!(Vault::open(&registry, &old, None).await.is_err());
    let vault = Vault::open(&registry, &new, None).await.unwrap();
    assert_eq!(vault.tenant_id(&"production".parse().unwrap(), &slug), made);
    assert_eq!(
        vault.api_key_digest(b"an API key").as_ref(),
        digest.as_ref()
    );
    assert!(Vault::open(&registry, &key("short"), None).await.is_err());
}

#[tokio::test]
async fn a_registry_that_was_sealed_with_the_master_key_itself_is_brought_over() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(&folder);
    let material = Secret::new("0123456789abcdef");
    let earlier = Vault::new(&material).unwrap();
    let check = Sealer::derive(&material, "registry").seal("right", CHECK_CONTEXT);
    registry.set_setting("master_check", check).await.unwrap();
    let id = keep_owner(&registry, &earlier, "aurora", "hash").await;

    let wrong = Vault::open(&registry, &key("fedcba9876543210"), None).await;
    assert!(matches!(wrong, Err(VaultError::MasterKey(_))));
    assert!(registry.data_keys().await.unwrap().keys.is_empty());

    let vault = Vault::open(&registry, &material.clone().into(), None)
        .await
        .unwrap();
    assert_eq!(owner(&registry, &vault, &id).await, "hash");
    assert_eq!(
        vault.api_key_digest(b"an API key").as_ref(),
        earlier.api_key_digest(b"an API key").as_ref()
    );
    let (environment, slug) = ("production".parse().unwrap(), "borealis".parse().unwrap());
    assert_eq!(
        vault.tenant_id(&environment, &slug),
        earlier.tenant_id(&environment, &slug)
    );
    // New values are sealed with a key that the master key does not tell.
    assert_ne!(vault.active(), earlier.active());
    assert_eq!(registry.setting("master_check").unwrap(), None);
    let next = key("the next master key");
    let vault = Vault::open(&registry, &next, Some(&material.into()))
        .await
        .unwrap();
    assert_eq!(owner(&registry, &vault, &id).await, "hash");
}

#[tokio::test]
async fn sealed_values_without_keys_are_not_taken_for_a_new_registry() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(&folder);
    let vault = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
    keep_owner(&registry, &vault, "aurora", "hash").await;
    let refused = Vault::open(&registry, &key("0123456789abcdef"), None).await;
    assert!(matches!(refused, Err(VaultError::Registry(_))));
}

#[tokio::test]
async fn what_an_older_key_sealed_is_found_and_sealed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(&folder);
    let vault = Vault::open(&registry, &key("0123456789abcdef"), None)
        .await
        .unwrap();
    let old = vault.active();
    let mut ids = Vec::new();
    for number in 0..5 {
        let slug = format!("tenant-{number}");
        ids.push(keep_owner(&registry, &vault, &slug, &format!("hash {number}")).await);
    }
    vault.replace(&registry, Vec::new()).await.unwrap();
    assert_ne!(vault.active(), old);
    assert_eq!(registry.sealed_counts().await.unwrap()[&old], 5);

    // One that was changed after it was read stays as it is.
    let page = registry.sealed_with(&old, None, 2).await.unwrap();
    assert_eq!(page.len(), 2);
    let mut values: Vec<_> = page
        .iter()
        .map(|before| super::super::registry::secrets::Resealed {
            before: before.clone(),
            sealed: vault.reseal(before).unwrap(),
        })
        .collect();
    values[0].before.sealed.push('x');
    assert_eq!(registry.reseal(values).await.unwrap(), 1);
    let mut after = None;
    let mut seen = 0;
    loop {
        let page = registry.sealed_with(&old, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        seen += page.len();
        after = Some(last.place.clone());
    }
    assert_eq!(seen, 4);
    for (number, id) in ids.iter().enumerate() {
        let hash = owner(&registry, &vault, id).await;
        assert_eq!(hash, format!("hash {number}"));
    }
    // Another server that has not heard of the new key learns of it.
    let late = Vault::open(&registry, &key("0123456789abcdef"), None)
        .await
        .unwrap();
    vault.replace(&registry, Vec::new()).await.unwrap();
    let sealed = vault.seal_owner(&ids[0], "hash");
    assert!(!late.knows(&sealed));
    assert!(matches!(
        late.replace(&registry, Vec::new()).await,
        Err(VaultError::Registry(RegistryError::Stale))
    ));
    late.refresh(&registry).await.unwrap();
    assert!(late.knows(&sealed));
}
