//! The audit log in PostgreSQL: one chain, whatever servers write it.
//!
//! Whoever appends takes a lock and keeps it until the commit, so that the end of the log is
//! known and committed before the next one reads it. It is taken after every other lock but the one
//! for the number of a change, always in that order.

use std::sync::PoisonError;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::session::{bounded, execute, query};
use super::{PostgresRegistry, count, write};
use crate::audit::{Linked, link};
use crate::contract::audit::{AuditHead, AuditRecord};
use crate::server::registry::RegistryError;
use crate::server::registry::audit::{AuditFilter, AuditRow, require};
use crate::server::registry::stored::micros;

/// Entries that are inserted with one statement. Few enough that whoever waits for the processor
/// meanwhile does not notice.
const TOGETHER: usize = 128;
const HEAD: &str = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1";
const COLUMNS: &str = "sequence, at, caller, action, tenant_id, record, hash, mac";

fn head_of(rows: &[Row]) -> Result<AuditHead, RegistryError> {
    let Some(row) = rows.first() else {
        return Ok(AuditHead::origin());
    };
    let sequence: i64 = row.try_get(0)?;
    Ok(AuditHead {
        sequence: sequence.unsigned_abs(),
        hash: row.try_get(1)?,
    })
}

/// Returns the end of the log.
pub(super) async fn head(registry: &PostgresRegistry) -> Result<AuditHead, RegistryError> {
    head_of(&registry.rows(HEAD, &[]).await?)
}

/// Adds records to the end of the log, in the transaction of what they tell of.
pub(super) async fn append(
    registry: &PostgresRegistry,
    transaction: &Transaction<'_>,
    records: &[AuditRecord],
) -> Result<(), RegistryError> {
    if records.is_empty() {
        return Ok(());
    }
    let key = registry
        .audit_key
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let key = require(key.as_deref())?;
    execute(
        transaction,
        "SELECT pg_advisory_xact_lock('audit'::regclass::oid::bigint)",
        &[],
    )
    .await?;
    let mut head = head_of(&query(transaction, HEAD, &[]).await?)?;
    for records in records.chunks(TOGETHER) {
        let mut linked: Vec<Linked> = Vec::with_capacity(records.len());
        for record in records {
            let next = link(record.clone(), &head, key);
            head = next.head();
            linked.push(next);
        }
        insert(transaction, &linked).await?;
    }
    Ok(())
}

/// Inserts entries with one statement: with a statement each, the way to PostgreSQL and back
/// would cost more than everything else that the server does.
async fn insert(transaction: &Transaction<'_>, linked: &[Linked]) -> Result<(), RegistryError> {
    fn all<'a, T>(linked: &'a [Linked], part: impl Fn(&'a Linked) -> T) -> Vec<T> {
        linked.iter().map(part).collect()
    }
    let sequence = all(linked, |it| {
        i64::try_from(it.entry.record.sequence).unwrap_or(i64::MAX)
    });
    execute(
        transaction,
        "INSERT INTO audit (sequence, at, caller, action, tenant_id, record, hash, mac)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[],
             $6::text[], $7::text[], $8::text[])",
        &[
            &sequence,
            &all(linked, |it| micros(it.entry.record.at)),
            &all(linked, |it| it.entry.record.caller.as_str()),
            &all(linked, |it| it.entry.record.action.as_str()),
            &all(linked, |it| it.entry.record.tenant.as_deref()),
            &all(linked, |it| it.text.as_str()),
            &all(linked, |it| it.entry.hash.as_str()),
            &all(linked, |it| it.entry.mac.as_str()),
        ],
    )
    .await?;
    Ok(())
}

/// Adds records that stand for themselves.
pub(super) async fn append_alone(
    registry: &PostgresRegistry,
    records: &[AuditRecord],
) -> Result<(), RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        append(registry, &transaction, records).await?;
        Ok(transaction.commit().await?)
    })
    .await;
    session.settle(outcome)
}

fn row(row: &Row) -> Result<AuditRow, RegistryError> {
    Ok(AuditRow {
        sequence: row.try_get(0)?,
        at: row.try_get(1)?,
        caller: row.try_get(2)?,
        action: row.try_get(3)?,
        tenant: row.try_get(4)?,
        record: row.try_get(5)?,
        hash: row.try_get(6)?,
        mac: row.try_get(7)?,
    })
}

/// Returns a page of entries beyond `beyond`.
pub(super) async fn page(
    registry: &PostgresRegistry,
    filter: &AuditFilter,
    beyond: Option<u64>,
    limit: u32,
) -> Result<Vec<AuditRow>, RegistryError> {
    let (beyond, comparison, order) = if filter.oldest_first {
        (beyond.unwrap_or(0), '>', "ASC")
    } else {
        (beyond.unwrap_or(u64::MAX), '<', "DESC")
    };
    let beyond = i64::try_from(beyond).unwrap_or(i64::MAX);
    let (since, until) = (
        filter.since.map_or(i64::MIN, micros),
        filter.until.map_or(i64::MAX, micros),
    );
    let limit = count(limit);
    let mut sql = format!(
        "SELECT {COLUMNS} FROM audit
         WHERE sequence {comparison} $1 AND at >= $2 AND at < $3"
    );
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        vec![&beyond, &since, &until, &limit];
    for (column, value) in [
        ("tenant_id", &filter.tenant),
        ("caller", &filter.caller),
        ("action", &filter.action),
    ] {
        if value.is_some() {
            parameters.push(value);
            write(
                &mut sql,
                format_args!(" AND {column} = ${}", parameters.len()),
            );
        }
    }
    write(
        &mut sql,
        format_args!(" ORDER BY sequence {order} LIMIT $4"),
    );
    let rows = registry.rows(&sql, &parameters).await?;
    rows.iter().map(row).collect()
}
