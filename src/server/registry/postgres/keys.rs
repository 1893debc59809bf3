//! API keys in PostgreSQL.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::session::{bounded, execute, query, stale_on_conflict};
use super::{PostgresRegistry, audit, count as limited, outbox};
use crate::contract::audit::AuditRecord;
use crate::server::registry::RegistryError;
use crate::server::registry::keys::{AccessKey, KeyCursor, KeyFilter, NewAccessKey, role};
use crate::server::registry::stored::{from_json, micros, timestamp, to_json};

const COLUMNS: &str = "id, name, role, digest, services, environments, rate_limit, rotated_from, \
                       created_by, created_at, expires_at, revoked_at, last_used_at";

/// What makes a key active at `$1`.
const ACTIVE: &str = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";

fn read(row: &Row) -> Result<AccessKey, RegistryError> {
    let time = |column: &str| -> Result<Option<Timestamp>, RegistryError> {
        let micros: Option<i64> = row.try_get(column)?;
        micros.map(timestamp).transpose()
    };
    let limit: Option<i64> = row.try_get("rate_limit")?;
    Ok(AccessKey {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: role(row.try_get("role")?)?,
        digest: row.try_get("digest")?,
        services: from_json(row.try_get("services")?)?,
        environments: from_json(row.try_get("environments")?)?,
        rate_limit: limit.and_then(|limit| u32::try_from(limit).ok()),
        rotated_from: row.try_get("rotated_from")?,
        created_by: row.try_get("created_by")?,
        created_at: timestamp(row.try_get("created_at")?)?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
        last_used_at: time("last_used_at")?,
    })
}

/// Returns how often keys were changed.
pub(super) async fn revision(registry: &PostgresRegistry) -> Result<i64, RegistryError> {
    let row = registry
        .row("SELECT revision FROM access_keys_revision", &[])
        .await?;
    Ok(row.try_get(0)?)
}

/// Counts a change. The row is locked until the end: changes of keys happen one by one, on
/// whichever server, so what they look at before stays true.
pub(super) async fn changed(transaction: &Transaction<'_>) -> Result<(), RegistryError> {
    execute(
        transaction,
        "UPDATE access_keys_revision SET revision = revision + 1",
        &[],
    )
    .await?;
    Ok(())
}

/// Returns the keys that are active.
pub(super) async fn active(
    registry: &PostgresRegistry,
    now: Timestamp,
) -> Result<Vec<AccessKey>, RegistryError> {
    let sql = format!("SELECT {COLUMNS} FROM access_keys WHERE {ACTIVE}");
    let rows = registry.rows(&sql, &[&micros(now)]).await?;
    rows.iter().map(read).collect()
}

/// Returns keys by id, or by name, the newest first.
pub(super) async fn named(
    registry: &PostgresRegistry,
    name: &str,
) -> Result<Vec<AccessKey>, RegistryError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM access_keys WHERE id = $1 OR name = $1
         ORDER BY created_at DESC, id DESC LIMIT 1000"
    );
    // PostgreSQL keeps no NUL, so nothing has such a name.
    if name.contains('\0') {
        return Ok(Vec::new());
    }
    let rows = registry.rows(&sql, &[&name]).await?;
    rows.iter().map(read).collect()
}

/// Returns a page of keys, the newest first.
pub(super) async fn page(
    registry: &PostgresRegistry,
    filter: &KeyFilter,
    before: Option<&KeyCursor>,
    limit: u32,
) -> Result<Vec<AccessKey>, RegistryError> {
    let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (*at, id.as_str()));
    let active_at = filter.active_at.map_or(0, micros);
    let search = filter.search.as_deref().unwrap_or_default();
    if search.contains('\0') || id.contains('\0') {
        return Ok(Vec::new());
    }
    let active = if filter.active_at.is_some() {
        ACTIVE
    } else {
        "$1::bigint IS NOT NULL"
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM access_keys
         WHERE (created_at, id) < ($2, $3) AND {active}
           AND (strpos(name, $4) > 0 OR strpos(id, $4) > 0)
         ORDER BY created_at DESC, id DESC LIMIT $5"
    );
    let rows = registry
        .rows(&sql, &[&active_at, &at, &id, &search, &limited(limit)])
        .await?;
    rows.iter().map(read).collect()
}

/// Keeps a key; stale when its name is taken, or when the key that it takes over from has ended
/// or has a successor.
pub(super) async fn add(
    registry: &PostgresRegistry,
    new: &NewAccessKey,
) -> Result<(), RegistryError> {
    let mut session = registry.to_change().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        changed(&transaction).await?;
        insert(&transaction, new).await?;
        if let Some(replay) = &new.replay {
            outbox::keep(&transaction, replay).await?;
        }
        audit::append(registry, &transaction, &new.audit).await?;
        Ok(transaction.commit().await?)
    })
    .await;
    session.settle(outcome)
}

async fn insert(transaction: &Transaction<'_>, new: &NewAccessKey) -> Result<(), RegistryError> {
    let key = &new.key;
    let now = micros(key.created_at);
    if let Some(old) = &key.rotated_from {
        let sql = format!(
            "UPDATE access_keys SET expires_at = least(coalesce(expires_at, $2), $2)
             WHERE id = $3 AND {ACTIVE}"
        );
        if execute(transaction, &sql, &[&now, &micros(new.retire_at), old]).await? == 0 {
            return Err(RegistryError::Stale);
        }
    } else {
        let sql = format!("SELECT 1 FROM access_keys WHERE {ACTIVE} AND name = $2 LIMIT 1");
        if !query(transaction, &sql, &[&now, &key.name])
            .await?
            .is_empty()
        {
            return Err(RegistryError::Stale);
        }
    }
    execute(
        transaction,
        &format!(
            "INSERT INTO access_keys ({COLUMNS})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        ),
        &[
            &key.id,
            &key.name,
            &key.role.as_str(),
            &key.digest,
            &to_json(&key.services)?,
            &to_json(&key.environments)?,
            &key.rate_limit.map(i64::from),
            &key.rotated_from,
            &key.created_by,
            &now,
            &key.expires_at.map(micros),
            &key.revoked_at.map(micros),
            &key.last_used_at.map(micros),
        ],
    )
    .await
    .map_err(stale_on_conflict)?;
    Ok(())
}

/// Withdraws keys; those that are withdrawn already stay as they are.
pub(super) async fn revoke(
    registry: &PostgresRegistry,
    ids: &[String],
    at: Timestamp,
    records: &[AuditRecord],
) -> Result<(), RegistryError> {
    let mut session = registry.to_change().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        changed(&transaction).await?;
        execute(
            &transaction,
            "UPDATE access_keys SET revoked_at = $2 WHERE id = ANY ($1) AND revoked_at IS NULL",
            &[&ids, &micros(at)],
        )
        .await?;
        audit::append(registry, &transaction, records).await?;
        Ok(transaction.commit().await?)
    })
    .await;
    session.settle(outcome)
}

/// Notes when keys were last used. Not a change that servers must notice.
pub(super) async fn used(
    registry: &PostgresRegistry,
    uses: &[(String, Timestamp)],
) -> Result<(), RegistryError> {
    let (ids, times): (Vec<&str>, Vec<i64>) = uses
        .iter()
        .map(|(id, at)| (id.as_str(), micros(*at)))
        .unzip();
    registry
        .rows(
            "UPDATE access_keys k SET last_used_at = greatest(coalesce(k.last_used_at, 0), u.at)
             FROM unnest($1::text[], $2::bigint[]) AS u (id, at) WHERE k.id = u.id",
            &[&ids, &times],
        )
        .await?;
    Ok(())
}
