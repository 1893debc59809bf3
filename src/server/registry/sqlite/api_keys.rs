//! Digests of API keys in SQLite.

use rusqlite::Connection;

use super::micros;
use crate::server::registry::RegistryError;
use crate::server::registry::model::now;

/// Replaces the accepted API keys.
pub(super) fn replace(connection: &Connection, digests: &[String]) -> Result<(), RegistryError> {
    connection.execute("DELETE FROM api_keys", [])?;
    let mut insert = connection.prepare("INSERT OR IGNORE INTO api_keys VALUES (?1, ?2)")?;
    for digest in digests {
        insert.execute((digest, micros(now())))?;
    }
    Ok(())
}

/// Returns the accepted API keys.
pub(super) fn stored(connection: &Connection) -> Result<Vec<String>, RegistryError> {
    let mut select = connection.prepare("SELECT digest FROM api_keys ORDER BY digest")?;
    let stored = select
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(stored)
}
