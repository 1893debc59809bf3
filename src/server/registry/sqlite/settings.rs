//! Settings of the registry's own, and digests of API keys, in SQLite.

use rusqlite::Connection;

use super::micros;
use crate::server::registry::RegistryError;
use crate::server::registry::model::now;

/// Keeps `value` under `key` unless there is one; returns the one that is kept.
pub(super) fn settle(
    connection: &Connection,
    key: &str,
    value: &str,
) -> Result<String, RegistryError> {
    connection.execute("INSERT OR IGNORE INTO meta VALUES (?1, ?2)", (key, value))?;
    Ok(
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
            row.get(0)
        })?,
    )
}

/// Replaces the accepted API keys, unless there are no others; returns the accepted ones.
pub(super) fn api_keys(
    connection: &Connection,
    digests: &[String],
) -> Result<Vec<String>, RegistryError> {
    if !digests.is_empty() {
        connection.execute("DELETE FROM api_keys", [])?;
    }
    let mut insert = connection.prepare("INSERT OR IGNORE INTO api_keys VALUES (?1, ?2)")?;
    for digest in digests {
        insert.execute((digest, micros(now())))?;
    }
    let mut select = connection.prepare("SELECT digest FROM api_keys ORDER BY digest")?;
    let stored = select
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(stored)
}
