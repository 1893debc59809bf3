//! Keys, and what they seal, in PostgreSQL.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::session::{bounded, execute, query, stale_on_conflict};
use super::{PostgresRegistry, audit, count as limited, number, signed};
use crate::contract::audit::AuditRecord;
use crate::server::registry::RegistryError;
use crate::server::registry::secrets::{
    KeyChange, Purpose, Resealed, SealedCounts, SealedPlace, SealedValue, StoredKey, StoredKeys,
};
use crate::server::registry::stored::{micros, parse, timestamp};

/// Returns every key. Registries on PostgreSQL never had keys of the earlier kind.
pub(super) async fn keys(registry: &PostgresRegistry) -> Result<StoredKeys, RegistryError> {
    let rows = registry
        .rows(
            "SELECT id, purpose, master, wrapped, active, created_at FROM data_keys ORDER BY id",
            &[],
        )
        .await?;
    let keys = rows.iter().map(key).collect::<Result<_, _>>()?;
    let row = registry
        .row(
            "SELECT EXISTS (SELECT 1 FROM credentials)
                 OR EXISTS (SELECT 1 FROM tenants WHERE owner_password_hash IS NOT NULL)",
            &[],
        )
        .await?;
    Ok(StoredKeys {
        keys,
        check: None,
        sealed: row.try_get(0)?,
    })
}

fn key(row: &Row) -> Result<StoredKey, RegistryError> {
    let purpose: &str = row.try_get(1)?;
    Ok(StoredKey {
        id: row.try_get(0)?,
        purpose: Purpose::parse(purpose)
            .ok_or_else(|| RegistryError::Corrupt(format!("unknown purpose `{purpose}`")))?,
        master: row.try_get(2)?,
        wrapped: row.try_get(3)?,
        active: row.try_get(4)?,
        created_at: timestamp(row.try_get(5)?)?,
    })
}

async fn insert(transaction: &Transaction<'_>, key: &StoredKey) -> Result<(), RegistryError> {
    execute(
        transaction,
        "INSERT INTO data_keys VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            &key.id,
            &key.purpose.as_str(),
            &key.master,
            &key.wrapped,
            &key.active,
            &micros(key.created_at),
        ],
    )
    .await
    .map_err(stale_on_conflict)?;
    Ok(())
}

/// Changes the keys, one server after another.
pub(super) async fn change(
    registry: &PostgresRegistry,
    change: &KeyChange,
    records: &[AuditRecord],
) -> Result<(), RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        execute(
            &transaction,
            "LOCK TABLE data_keys IN SHARE ROW EXCLUSIVE MODE",
            &[],
        )
        .await?;
        apply(&transaction, change).await?;
        audit::append(registry, &transaction, records).await?;
        Ok(transaction.commit().await?)
    })
    .await;
    session.settle(outcome)
}

async fn apply(transaction: &Transaction<'_>, change: &KeyChange) -> Result<(), RegistryError> {
    match change {
        KeyChange::First(keys) => {
            let any = query(transaction, "SELECT 1 FROM data_keys LIMIT 1", &[]).await?;
            if !any.is_empty() {
                return Err(RegistryError::Stale);
            }
            for key in keys {
                insert(transaction, key).await?;
            }
        }
        KeyChange::Rewrapped(keys) => {
            for key in keys {
                let changed = execute(
                    transaction,
                    "UPDATE data_keys SET master = $2, wrapped = $3 WHERE id = $1",
                    &[&key.id, &key.master, &key.wrapped],
                )
                .await?;
                if changed != 1 {
                    return Err(RegistryError::Stale);
                }
            }
        }
        KeyChange::Replaced(id, key) => {
            let changed = execute(
                transaction,
                "UPDATE data_keys SET active = FALSE WHERE id = $1 AND active",
                &[id],
            )
            .await?;
            if changed != 1 {
                return Err(RegistryError::Stale);
            }
            insert(transaction, key).await?;
        }
    }
    Ok(())
}

/// Counts sealed values by key.
pub(super) async fn count(registry: &PostgresRegistry) -> Result<SealedCounts, RegistryError> {
    let rows = registry
        .rows(
            "SELECT key, sum(number)::bigint FROM (
                 SELECT substr(sealed, 4, 8) COLLATE \"C\" AS key, count(*) AS number
                 FROM credentials GROUP BY 1
                 UNION ALL
                 SELECT substr(owner_password_hash, 4, 8) COLLATE \"C\", count(*)
                 FROM tenants WHERE owner_password_hash IS NOT NULL GROUP BY 1) sealed
             GROUP BY key",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let count: i64 = row.try_get(1)?;
            Ok((row.try_get(0)?, u64::try_from(count).unwrap_or(0)))
        })
        .collect()
}

/// Returns a page of the values that the key `id` has sealed: credentials, then owners.
pub(super) async fn sealed_with(
    registry: &PostgresRegistry,
    id: &str,
    after: Option<&SealedPlace>,
    limit: u32,
) -> Result<Vec<SealedValue>, RegistryError> {
    let owners_after = match after {
        Some(SealedPlace::Owner(tenant)) => Some(tenant.as_str()),
        _ => None,
    };
    if owners_after.is_none() {
        let (a, b, c, d) = match after {
            Some(SealedPlace::Credential {
                tenant,
                service,
                version,
                module,
            }) => (
                tenant.as_str(),
                service.as_str(),
                signed(*version),
                module.as_str(),
            ),
            _ => ("", "", 0, ""),
        };
        let rows = registry
            .rows(
                "SELECT tenant_id, service, version, module, sealed FROM credentials
                 WHERE substr(sealed, 4, 8) COLLATE \"C\" = $1
                   AND (tenant_id, service, version, module) > ($2, $3, $4, $5)
                 ORDER BY tenant_id, service, version, module LIMIT $6",
                &[&id, &a, &b, &c, &d, &limited(limit)],
            )
            .await?;
        if !rows.is_empty() {
            return rows.iter().map(credential).collect();
        }
    }
    let rows = registry
        .rows(
            "SELECT id, owner_password_hash FROM tenants
             WHERE owner_password_hash IS NOT NULL
               AND substr(owner_password_hash, 4, 8) COLLATE \"C\" = $1 AND id > $2
             ORDER BY id LIMIT $3",
            &[&id, &owners_after.unwrap_or(""), &limited(limit)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(SealedValue {
                place: SealedPlace::Owner(parse(row.try_get(0)?)?),
                sealed: row.try_get(1)?,
            })
        })
        .collect()
}

fn credential(row: &Row) -> Result<SealedValue, RegistryError> {
    Ok(SealedValue {
        place: SealedPlace::Credential {
            tenant: parse(row.try_get(0)?)?,
            service: parse(row.try_get(1)?)?,
            version: number(row.try_get(2)?)?,
            module: row.try_get(3)?,
        },
        sealed: row.try_get(4)?,
    })
}

/// Replaces sealed values that are still as they were read; returns how many.
pub(super) async fn reseal(
    registry: &PostgresRegistry,
    values: &[Resealed],
) -> Result<u64, RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        let mut changed = 0;
        for Resealed { before, sealed } in values {
            changed += match &before.place {
                SealedPlace::Credential {
                    tenant,
                    service,
                    version,
                    module,
                } => {
                    execute(
                        &transaction,
                        "UPDATE credentials SET sealed = $6
                         WHERE tenant_id = $1 AND service = $2 AND version = $3 AND module = $4
                           AND sealed = $5",
                        &[
                            &tenant.as_str(),
                            &service.as_str(),
                            &signed(*version),
                            module,
                            &before.sealed,
                            sealed,
                        ],
                    )
                    .await?
                }
                // A change that read the old value must not bring it back.
                SealedPlace::Owner(tenant) => {
                    execute(
                        &transaction,
                        "UPDATE tenants SET owner_password_hash = $3, revision = revision + 1
                         WHERE id = $1 AND owner_password_hash = $2",
                        &[&tenant.as_str(), &before.sealed, sealed],
                    )
                    .await?
                }
            };
        }
        transaction.commit().await?;
        Ok(changed)
    })
    .await;
    session.settle(outcome)
}
