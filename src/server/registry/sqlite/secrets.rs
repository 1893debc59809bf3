//! Keys, and what they seal, in SQLite.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::tenants::stale_on_conflict;
use super::{micros, parse, timestamp};
use crate::server::registry::RegistryError;
use crate::server::registry::secrets::{
    KeyChange, Purpose, Resealed, SealedCounts, SealedPlace, SealedValue, StoredKey, StoredKeys,
};

/// Setting in which earlier versions kept what only the right master key opens.
const MASTER_CHECK: &str = "master_check";

/// Returns every key.
pub(super) fn keys(connection: &Connection) -> Result<StoredKeys, RegistryError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, purpose, master, wrapped, active, created_at FROM data_keys ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(key(row)?);
    }
    let check = connection
        .query_row(
            "SELECT value FROM meta WHERE key = ?1",
            [MASTER_CHECK],
            |row| row.get(0),
        )
        .optional()?;
    let sealed = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM credentials)
             OR EXISTS (SELECT 1 FROM tenants WHERE owner_password_hash IS NOT NULL)",
        [],
        |row| row.get(0),
    )?;
    Ok(StoredKeys {
        keys,
        check,
        sealed,
    })
}

fn key(row: &Row<'_>) -> Result<StoredKey, RegistryError> {
    let purpose: String = row.get(1)?;
    Ok(StoredKey {
        id: row.get(0)?,
        purpose: Purpose::parse(&purpose)
            .ok_or_else(|| RegistryError::Corrupt(format!("unknown purpose `{purpose}`")))?,
        master: row.get(2)?,
        wrapped: row.get(3)?,
        active: row.get(4)?,
        created_at: timestamp(row.get(5)?)?,
    })
}

fn insert(connection: &Connection, key: &StoredKey) -> Result<(), RegistryError> {
    connection
        .prepare_cached("INSERT INTO data_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            key.id,
            key.purpose.as_str(),
            key.master,
            key.wrapped,
            key.active,
            micros(key.created_at),
        ])
        .map_err(stale_on_conflict)?;
    Ok(())
}

/// Changes the keys. The caller holds the transaction.
pub(super) fn change(connection: &Connection, change: &KeyChange) -> Result<(), RegistryError> {
    match change {
        KeyChange::First(keys) => {
            let any: bool =
                connection.query_row("SELECT EXISTS (SELECT 1 FROM data_keys)", [], |row| {
                    row.get(0)
                })?;
            if any {
                return Err(RegistryError::Stale);
            }
            for key in keys {
                insert(connection, key)?;
            }
            // A program that knows nothing of the keys must not find what it looks for.
            connection.execute("DELETE FROM meta WHERE key = ?1", [MASTER_CHECK])?;
        }
        KeyChange::Rewrapped(keys) => {
            for key in keys {
                let changed = connection
                    .prepare_cached("UPDATE data_keys SET master = ?2, wrapped = ?3 WHERE id = ?1")?
                    .execute(params![key.id, key.master, key.wrapped])?;
                if changed != 1 {
                    return Err(RegistryError::Stale);
                }
            }
        }
        KeyChange::Replaced(id, key) => {
            let changed = connection
                .prepare_cached("UPDATE data_keys SET active = 0 WHERE id = ?1 AND active = 1")?
                .execute([id])?;
            if changed != 1 {
                return Err(RegistryError::Stale);
            }
            insert(connection, key)?;
        }
    }
    Ok(())
}

/// Counts sealed values by key.
pub(super) fn count(connection: &Connection) -> Result<SealedCounts, RegistryError> {
    let mut counts = SealedCounts::new();
    for sql in [
        "SELECT substr(sealed, 4, 8), count(*) FROM credentials INDEXED BY credentials_by_key
         GROUP BY substr(sealed, 4, 8)",
        "SELECT substr(owner_password_hash, 4, 8), count(*) FROM tenants INDEXED BY tenants_by_key
         WHERE owner_password_hash IS NOT NULL GROUP BY substr(owner_password_hash, 4, 8)",
    ] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count: i64 = row.get(1)?;
            *counts.entry(row.get(0)?).or_default() += u64::try_from(count).unwrap_or(0);
        }
    }
    Ok(counts)
}

/// Returns a page of the values that the key `id` has sealed: credentials, then owners.
pub(super) fn sealed_with(
    connection: &Connection,
    id: &str,
    after: Option<&SealedPlace>,
    limit: u32,
) -> Result<Vec<SealedValue>, RegistryError> {
    let mut found = Vec::new();
    let owners_after = match after {
        Some(SealedPlace::Owner(tenant)) => tenant.as_str(),
        _ => "",
    };
    if !matches!(after, Some(SealedPlace::Owner(_))) {
        let (a, b, c, d) = match after {
            Some(SealedPlace::Credential {
                tenant,
                service,
                version,
                module,
            }) => (tenant.as_str(), service.as_str(), *version, module.as_str()),
            _ => ("", "", 0, ""),
        };
        let mut statement = connection.prepare_cached(
            "SELECT tenant_id, service, version, module, sealed
             FROM credentials INDEXED BY credentials_by_key
             WHERE substr(sealed, 4, 8) = ?1
               AND (tenant_id, service, version, module) > (?2, ?3, ?4, ?5)
             ORDER BY tenant_id, service, version, module LIMIT ?6",
        )?;
        let mut rows = statement.query(params![id, a, b, c, d, limit])?;
        while let Some(row) = rows.next()? {
            let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
            found.push(SealedValue {
                place: SealedPlace::Credential {
                    tenant: parse(text(0)?)?,
                    service: parse(text(1)?)?,
                    version: row.get(2)?,
                    module: row.get(3)?,
                },
                sealed: row.get(4)?,
            });
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, owner_password_hash FROM tenants INDEXED BY tenants_by_key
         WHERE owner_password_hash IS NOT NULL AND substr(owner_password_hash, 4, 8) = ?1
           AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![id, owners_after, limit])?;
    while let Some(row) = rows.next()? {
        found.push(SealedValue {
            place: SealedPlace::Owner(parse(
                row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
            )?),
            sealed: row.get(1)?,
        });
    }
    Ok(found)
}

/// Replaces sealed values that are still as they were read; returns how many.
pub(super) fn reseal(connection: &Connection, values: &[Resealed]) -> Result<u64, RegistryError> {
    let mut changed = 0;
    for Resealed { before, sealed } in values {
        changed += match &before.place {
            SealedPlace::Credential {
                tenant,
                service,
                version,
                module,
            } => connection
                .prepare_cached(
                    "UPDATE credentials SET sealed = ?6
                     WHERE tenant_id = ?1 AND service = ?2 AND version = ?3 AND module = ?4
                       AND sealed = ?5",
                )?
                .execute(params![
                    tenant.as_str(),
                    service.as_str(),
                    version,
                    module,
                    before.sealed,
                    sealed
                ])?,
            // A change that read the old value must not bring it back.
            SealedPlace::Owner(tenant) => connection
                .prepare_cached(
                    "UPDATE tenants SET owner_password_hash = ?3, revision = revision + 1
                     WHERE id = ?1 AND owner_password_hash = ?2",
                )?
                .execute(params![tenant.as_str(), before.sealed, sealed])?,
        };
    }
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}
