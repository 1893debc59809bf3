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
use crate::audit::link;
use crate::contract::audit::{AuditHead, AuditRecord};
use crate::server::registry::RegistryError;
use crate::server::registry::audit::{AuditFilter, AuditRow, require};
use crate::server::registry::stored::micros;

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
    for record in records {
        let linked = link(record.clone(), &head, key);
        let record = &linked.entry.record;
        let sequence = i64::try_from(record.sequence).unwrap_or(i64::MAX);
        execute(
            transaction,
            "INSERT INTO audit VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &sequence,
                &micros(record.at),
                &record.caller,
                &record.action,
                &record.tenant,
                &linked.text,
                &linked.entry.hash,
                &linked.entry.mac,
            ],
        )
        .await?;
        head = linked.head();
    }
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
