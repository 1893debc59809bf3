//! Events to publish, and answers kept for repeated requests, in SQLite.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::tenants::stale_on_conflict;
use super::{micros, parse, timestamp};
use crate::contract::TenantId;
use crate::server::registry::model::{is_paced, now};
use crate::server::registry::{NewEvent, OutboxRow, RegistryError, Replay, Statistics, Tenant};

/// Rows that one transaction forgets at most.
const BITE: u32 = 500;

/// Keeps events to be published, numbered within their tenant.
pub(super) fn insert(
    connection: &Connection,
    tenant: &Tenant,
    events: &[NewEvent],
) -> Result<(), RegistryError> {
    if events.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let last: i64 = connection
        .prepare_cached(
            "UPDATE tenants SET event_sequence = event_sequence + ?2 WHERE id = ?1 RETURNING event_sequence",
        )?
        .query_row(params![tenant.id.as_str(), count], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO outbox (tenant_id, tenant_sequence, event_id, event_type, channel, body, paced, state, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (sequence, event) in (last - count + 1..).zip(events) {
        statement.execute(params![
            tenant.id.as_str(),
            sequence,
            event.id,
            event.event_type.as_str(),
            event.channel,
            event.body,
            is_paced(event.event_type),
            if event.channel.is_some() { 0 } else { 2 },
            micros(event.at),
        ])?;
    }
    Ok(())
}

/// Returns events that wait, in order.
pub(super) fn page(
    connection: &Connection,
    after: i64,
    limit: u32,
) -> Result<Vec<OutboxRow>, RegistryError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, tenant_id, event_type, channel, body, paced, event_id
         FROM outbox INDEXED BY outbox_waiting
         WHERE state = 0 AND sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant: String = row.get(1)?;
        found.push(OutboxRow {
            sequence: row.get(0)?,
            tenant_id: parse(&tenant)?,
            event_type: row.get(2)?,
            channel: row.get(3)?,
            body: row.get(4)?,
            paced: row.get(5)?,
            event_id: row.get(6)?,
        });
    }
    Ok(found)
}

/// Returns true when an event of the tenant that is not paced waits.
pub(super) fn urgent(connection: &Connection, tenant: &TenantId) -> Result<bool, RegistryError> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_waiting_by_tenant
                            WHERE state = 0 AND tenant_id = ?1 AND paced = 0)",
        )?
        .query_row([tenant.as_str()], |row| row.get(0))?)
}

/// Returns true when an event of the tenant made no later than `until` waits.
pub(super) fn waits(
    connection: &Connection,
    tenant: &TenantId,
    until: Timestamp,
) -> Result<bool, RegistryError> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_waiting_by_tenant
                            WHERE state = 0 AND tenant_id = ?1 AND paced IN (0, 1) AND created_at <= ?2)",
        )?
        .query_row(params![tenant.as_str(), micros(until)], |row| row.get(0))?)
}

/// Notes that events were published.
pub(super) fn published(
    connection: &Connection,
    receivers: &[(i64, u64)],
) -> Result<(), RegistryError> {
    let at = micros(now());
    let mut statement = connection.prepare_cached(
        "UPDATE outbox SET state = 1, receivers = ?2, published_at = ?3 WHERE sequence = ?1",
    )?;
    for (sequence, count) in receivers {
        statement.execute(params![
            sequence,
            i64::try_from(*count).unwrap_or(i64::MAX),
            at
        ])?;
    }
    Ok(())
}

/// Adds depth and age of the outbox.
pub(super) fn count(
    connection: &Connection,
    statistics: &mut Statistics,
) -> Result<(), RegistryError> {
    let (depth, oldest): (i64, Option<i64>) = connection
        .prepare_cached(
            "SELECT count(*), min(created_at) FROM outbox INDEXED BY outbox_waiting WHERE state = 0",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    statistics.outbox_depth = depth;
    statistics.outbox_oldest = oldest.map(timestamp).transpose()?;
    statistics.outbox_undeliverable = connection
        .prepare_cached(
            "SELECT count(*) FROM outbox INDEXED BY outbox_undeliverable WHERE state = 2",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(())
}

/// Keeps an answer; stale when another one was kept under the key meanwhile.
pub(super) fn keep(connection: &Connection, replay: &Replay) -> Result<(), RegistryError> {
    connection
        .prepare_cached("INSERT INTO replays VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            replay.key,
            replay.fingerprint,
            replay.status,
            replay.body,
            micros(now())
        ])
        .map_err(stale_on_conflict)?;
    Ok(())
}

/// Returns a kept answer.
pub(super) fn replay(connection: &Connection, key: &str) -> Result<Option<Replay>, RegistryError> {
    Ok(connection
        .prepare_cached("SELECT key, fingerprint, status, body FROM replays WHERE key = ?1")?
        .query_row([key], |row| {
            Ok(Replay {
                key: row.get(0)?,
                fingerprint: row.get(1)?,
                status: row.get(2)?,
                body: row.get(3)?,
            })
        })
        .optional()?)
}

/// Forgets a bite of what is older than these times; returns how many rows that were.
pub(super) fn prune(
    connection: &Connection,
    events: Timestamp,
    replays: Timestamp,
) -> Result<u64, RegistryError> {
    let events = connection
        .prepare_cached(
            "DELETE FROM outbox WHERE sequence IN (
                 SELECT sequence FROM outbox INDEXED BY outbox_by_age
                 WHERE state > 0 AND created_at < ?1 LIMIT ?2)",
        )?
        .execute(params![micros(events), BITE])?;
    let replays = connection
        .prepare_cached(
            "DELETE FROM replays WHERE key IN (
                 SELECT key FROM replays WHERE created_at < ?1 LIMIT ?2)",
        )?
        .execute(params![micros(replays), BITE])?;
    Ok(u64::try_from(events + replays).unwrap_or(u64::MAX))
}
