//! The audit log in SQLite.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::micros;
use crate::audit::{MacKey, link};
use crate::contract::audit::{AuditHead, AuditRecord};
use crate::server::registry::RegistryError;
use crate::server::registry::audit::{AuditFilter, AuditRow, require};

/// Returns the end of the log.
pub(super) fn head(connection: &Connection) -> Result<AuditHead, RegistryError> {
    let head = connection
        .prepare_cached("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |row| {
            Ok(AuditHead {
                sequence: row.get::<_, i64>(0)?.unsigned_abs(),
                hash: row.get(1)?,
            })
        })
        .optional()?;
    Ok(head.unwrap_or_else(AuditHead::origin))
}

/// Adds records to the end of the log. The caller holds the transaction, so that what they tell
/// of and they themselves are kept or lost together.
pub(super) fn append(
    connection: &Connection,
    key: Option<&MacKey>,
    records: &[AuditRecord],
) -> Result<(), RegistryError> {
    if records.is_empty() {
        return Ok(());
    }
    let key = require(key)?;
    let mut head = head(connection)?;
    let mut insert =
        connection.prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for record in records {
        let linked = link(record.clone(), &head, key);
        let record = &linked.entry.record;
        insert.execute(params![
            i64::try_from(record.sequence).unwrap_or(i64::MAX),
            micros(record.at),
            record.caller,
            record.action,
            record.tenant,
            linked.text,
            linked.entry.hash,
            linked.entry.mac,
        ])?;
        head = linked.head();
    }
    Ok(())
}

fn row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        sequence: row.get(0)?,
        at: row.get(1)?,
        caller: row.get(2)?,
        action: row.get(3)?,
        tenant: row.get(4)?,
        record: row.get(5)?,
        hash: row.get(6)?,
        mac: row.get(7)?,
    })
}

/// Returns a page of entries beyond `beyond`.
pub(super) fn page(
    connection: &Connection,
    filter: &AuditFilter,
    beyond: Option<u64>,
    limit: u32,
) -> Result<Vec<AuditRow>, RegistryError> {
    // A fixed shape per filter, so that each is answered from its index.
    let term = |column: &str, at: u8, given: bool| {
        if given {
            format!("{column} = ?{at}")
        } else {
            format!("?{at} IS NULL")
        }
    };
    let (beyond, comparison, order) = if filter.oldest_first {
        (beyond.unwrap_or(0), '>', "ASC")
    } else {
        (beyond.unwrap_or(u64::MAX), '<', "DESC")
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT sequence, at, caller, action, tenant_id, record, hash, mac FROM audit
         WHERE {} AND {} AND {} AND at >= ?4 AND at < ?5 AND sequence {comparison} ?6
         ORDER BY sequence {order} LIMIT ?7",
        term("tenant_id", 1, filter.tenant.is_some()),
        term("caller", 2, filter.caller.is_some()),
        term("action", 3, filter.action.is_some()),
    ))?;
    let rows = statement.query_map(
        params![
            filter.tenant,
            filter.caller,
            filter.action,
            filter.since.map_or(i64::MIN, micros),
            filter.until.map_or(i64::MAX, micros),
            i64::try_from(beyond).unwrap_or(i64::MAX),
            limit,
        ],
        row,
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
