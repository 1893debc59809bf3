//! API keys in SQLite.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::tenants::stale_on_conflict;
use super::{audit, from_json, micros, outbox, timestamp, to_json};
use crate::audit::MacKey;
use crate::server::registry::RegistryError;
use crate::server::registry::keys::{AccessKey, KeyCursor, KeyFilter, NewAccessKey, role};

const COLUMNS: &str = "id, name, role, digest, services, environments, rate_limit, rotated_from, \
                       created_by, created_at, expires_at, revoked_at, last_used_at";

/// What makes a key active at `?1`.
const ACTIVE: &str = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1)";

fn read(row: &Row<'_>) -> Result<AccessKey, RegistryError> {
    let time = |column: &str| -> Result<Option<Timestamp>, RegistryError> {
        let micros: Option<i64> = row.get(column)?;
        micros.map(timestamp).transpose()
    };
    let text = |column: &str| -> Result<String, RegistryError> { Ok(row.get(column)?) };
    Ok(AccessKey {
        id: text("id")?,
        name: text("name")?,
        role: role(&text("role")?)?,
        digest: text("digest")?,
        services: from_json(&text("services")?)?,
        environments: from_json(&text("environments")?)?,
        rate_limit: row.get("rate_limit")?,
        rotated_from: row.get("rotated_from")?,
        created_by: text("created_by")?,
        created_at: timestamp(row.get("created_at")?)?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
        last_used_at: time("last_used_at")?,
    })
}

fn collect(
    connection: &Connection,
    sql: &str,
    parameters: Vec<Value>,
) -> Result<Vec<AccessKey>, RegistryError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Returns how often keys were changed.
pub(super) fn revision(connection: &Connection) -> Result<i64, RegistryError> {
    let text: String = connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'access_keys_revision'")?
        .query_row([], |row| row.get(0))?;
    text.parse()
        .map_err(|_| RegistryError::Corrupt("the revision of keys is not a number".into()))
}

/// Counts a change.
pub(super) fn changed(connection: &Connection) -> Result<(), RegistryError> {
    connection.execute(
        "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE key = 'access_keys_revision'",
        [],
    )?;
    Ok(())
}

/// Returns the keys that are active.
pub(super) fn active(
    connection: &Connection,
    now: Timestamp,
) -> Result<Vec<AccessKey>, RegistryError> {
    collect(
        connection,
        &format!("SELECT {COLUMNS} FROM access_keys WHERE {ACTIVE}"),
        vec![micros(now).into()],
    )
}

/// Returns keys by id, or by name, the newest first.
pub(super) fn named(connection: &Connection, name: &str) -> Result<Vec<AccessKey>, RegistryError> {
    collect(
        connection,
        &format!(
            "SELECT {COLUMNS} FROM access_keys WHERE id = ?1 OR name = ?1 ORDER BY created_at DESC, id DESC LIMIT 1000"
        ),
        vec![name.to_owned().into()],
    )
}

/// Returns a page of keys, the newest first.
pub(super) fn page(
    connection: &Connection,
    filter: &KeyFilter,
    before: Option<&KeyCursor>,
    limit: u32,
) -> Result<Vec<AccessKey>, RegistryError> {
    let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (*at, id.as_str()));
    let mut parameters: Vec<Value> = vec![
        filter.active_at.map_or(0, micros).into(),
        at.into(),
        id.to_owned().into(),
        limit.into(),
    ];
    let mut narrowed = String::new();
    if filter.active_at.is_some() {
        narrowed.push_str(" AND ");
        narrowed.push_str(ACTIVE);
    }
    if let Some(search) = &filter.search {
        narrowed.push_str(" AND (instr(name, ?5) > 0 OR instr(id, ?5) > 0)");
        parameters.push(search.clone().into());
    }
    collect(
        connection,
        &format!(
            "SELECT {COLUMNS} FROM access_keys WHERE (created_at, id) < (?2, ?3) AND ?1 = ?1{narrowed}
             ORDER BY created_at DESC, id DESC LIMIT ?4"
        ),
        parameters,
    )
}

/// Keeps a key; stale when its name is taken, or when the key that it takes over from has ended
/// or has a successor.
pub(super) fn add(
    connection: &Connection,
    audit_key: Option<&MacKey>,
    new: &NewAccessKey,
) -> Result<(), RegistryError> {
    audit::append(connection, audit_key, &new.audit)?;
    let key = &new.key;
    let now = micros(key.created_at);
    if let Some(old) = &key.rotated_from {
        let retired = connection.execute(
            &format!(
                "UPDATE access_keys SET expires_at = min(coalesce(expires_at, ?2), ?2) WHERE id = ?3 AND {ACTIVE}"
            ),
            params![now, micros(new.retire_at), old],
        )?;
        if retired == 0 {
            return Err(RegistryError::Stale);
        }
    } else {
        let taken: Option<i64> = connection
            .query_row(
                &format!("SELECT 1 FROM access_keys WHERE {ACTIVE} AND name = ?2"),
                params![now, key.name],
                |row| row.get(0),
            )
            .optional()?;
        if taken.is_some() {
            return Err(RegistryError::Stale);
        }
    }
    connection
        .execute(
            &format!(
                "INSERT INTO access_keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
            ),
            params![
                key.id,
                key.name,
                key.role.as_str(),
                key.digest,
                to_json(&key.services)?,
                to_json(&key.environments)?,
                key.rate_limit,
                key.rotated_from,
                key.created_by,
                now,
                key.expires_at.map(micros),
                key.revoked_at.map(micros),
                key.last_used_at.map(micros),
            ],
        )
        .map_err(stale_on_conflict)?;
    if let Some(replay) = &new.replay {
        outbox::keep(connection, replay)?;
    }
    changed(connection)
}

/// Withdraws keys; those that are withdrawn already stay as they are.
pub(super) fn revoke(
    connection: &Connection,
    ids: &[String],
    at: Timestamp,
) -> Result<(), RegistryError> {
    for id in ids {
        connection.execute(
            "UPDATE access_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
            params![id, micros(at)],
        )?;
    }
    changed(connection)
}

/// Notes when keys were last used. Not a change that servers must notice.
pub(super) fn used(
    connection: &Connection,
    uses: &[(String, Timestamp)],
) -> Result<(), RegistryError> {
    let mut statement = connection.prepare_cached(
        "UPDATE access_keys SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1",
    )?;
    for (id, at) in uses {
        statement.execute(params![id, micros(*at)])?;
    }
    Ok(())
}
