//! Events to publish, and answers kept for repeated requests, in PostgreSQL.

use deadpool_postgres::Transaction;
use jiff::Timestamp;

use super::session::{execute, query, stale_on_conflict};
use super::{PostgresRegistry, count};
use crate::contract::TenantId;
use crate::server::registry::model::{is_paced, now};
use crate::server::registry::stored::{micros, parse, timestamp};
use crate::server::registry::{NewEvent, OutboxRow, RegistryError, Replay, Statistics, Tenant};

/// Rows that one statement forgets at most.
const BITE: i64 = 500;

/// Keeps events to be published, numbered within their tenant, and among all in the order of the
/// commits, for which the caller holds a lock: the dispatcher looks page by page, and would
/// otherwise pass over what is committed late under a number from before.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    tenant: &Tenant,
    events: &[NewEvent],
) -> Result<(), RegistryError> {
    if events.is_empty() {
        return Ok(());
    }
    let number = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let rows = query(
        transaction,
        "UPDATE tenants SET event_sequence = event_sequence + $2 WHERE id = $1 RETURNING event_sequence",
        &[&tenant.id.as_str(), &number],
    )
    .await?;
    let row = rows.first().ok_or(RegistryError::Stale)?;
    let last: i64 = row.try_get(0)?;
    // One after another, so that the order among all events is theirs too.
    for (sequence, event) in (last - number + 1..).zip(events) {
        execute(
            transaction,
            "INSERT INTO outbox (tenant_id, tenant_sequence, event_id, event_type, channel, body, paced, state, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                &tenant.id.as_str(),
                &sequence,
                &event.id,
                &event.event_type.as_str(),
                &event.channel,
                &event.body,
                &is_paced(event.event_type),
                &if event.channel.is_some() { 0_i32 } else { 2 },
                &micros(event.at),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Returns events that wait, in order.
pub(super) async fn page(
    registry: &PostgresRegistry,
    after: i64,
    limit: u32,
) -> Result<Vec<OutboxRow>, RegistryError> {
    let rows = registry
        .rows(
            "SELECT sequence, tenant_id, event_type, channel, body, paced, event_id
             FROM outbox WHERE state = 0 AND sequence > $1 ORDER BY sequence LIMIT $2",
            &[&after, &count(limit)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(OutboxRow {
                sequence: row.try_get(0)?,
                tenant_id: parse(row.try_get(1)?)?,
                event_type: row.try_get(2)?,
                channel: row.try_get(3)?,
                body: row.try_get(4)?,
                paced: row.try_get(5)?,
                event_id: row.try_get(6)?,
            })
        })
        .collect()
}

/// Returns true when an event of the tenant that is not paced waits.
pub(super) async fn urgent(
    registry: &PostgresRegistry,
    tenant: &TenantId,
) -> Result<bool, RegistryError> {
    let row = registry
        .row(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 0 AND tenant_id = $1 AND NOT paced)",
            &[&tenant.as_str()],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// Returns true when an event of the tenant made no later than `until` waits.
pub(super) async fn waits(
    registry: &PostgresRegistry,
    tenant: &TenantId,
    until: Timestamp,
) -> Result<bool, RegistryError> {
    let row = registry
        .row(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 0 AND tenant_id = $1 AND created_at <= $2)",
            &[&tenant.as_str(), &micros(until)],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// Notes that events were published.
pub(super) async fn published(
    registry: &PostgresRegistry,
    receivers: &[(i64, u64)],
) -> Result<(), RegistryError> {
    let (sequences, counts): (Vec<i64>, Vec<i64>) = receivers
        .iter()
        .map(|(sequence, count)| (*sequence, i64::try_from(*count).unwrap_or(i64::MAX)))
        .unzip();
    registry
        .rows(
            "UPDATE outbox o SET state = 1, receivers = p.receivers, published_at = $3
             FROM unnest($1::bigint[], $2::bigint[]) AS p (sequence, receivers)
             WHERE o.sequence = p.sequence",
            &[&sequences, &counts, &micros(now())],
        )
        .await?;
    Ok(())
}

/// Adds depth and age of the outbox.
pub(super) async fn tally(
    registry: &PostgresRegistry,
    statistics: &mut Statistics,
) -> Result<(), RegistryError> {
    let row = registry
        .row(
            "SELECT count(*), min(created_at) FROM outbox WHERE state = 0",
            &[],
        )
        .await?;
    statistics.outbox_depth = row.try_get(0)?;
    statistics.outbox_oldest = row
        .try_get::<_, Option<i64>>(1)?
        .map(timestamp)
        .transpose()?;
    let row = registry
        .row("SELECT count(*) FROM outbox WHERE state = 2", &[])
        .await?;
    statistics.outbox_undeliverable = row.try_get(0)?;
    Ok(())
}

/// Keeps an answer; stale when another one was kept under the key meanwhile.
pub(super) async fn keep(
    transaction: &Transaction<'_>,
    replay: &Replay,
) -> Result<(), RegistryError> {
    execute(
        transaction,
        "INSERT INTO replays VALUES ($1, $2, $3, $4, $5)",
        &[
            &replay.key,
            &replay.fingerprint,
            &i32::from(replay.status),
            &replay.body,
            &micros(now()),
        ],
    )
    .await
    .map_err(stale_on_conflict)?;
    Ok(())
}

/// Returns a kept answer.
pub(super) async fn replay(
    registry: &PostgresRegistry,
    key: &str,
) -> Result<Option<Replay>, RegistryError> {
    let rows = registry
        .rows(
            "SELECT key, fingerprint, status, body FROM replays WHERE key = $1",
            &[&key],
        )
        .await?;
    rows.first()
        .map(|row| {
            Ok(Replay {
                key: row.try_get(0)?,
                fingerprint: row.try_get(1)?,
                status: u16::try_from(row.try_get::<_, i32>(2)?)
                    .map_err(|error| RegistryError::Corrupt(error.to_string()))?,
                body: row.try_get(3)?,
            })
        })
        .transpose()
}

/// Forgets what is older than these times, in bites; returns how many rows that were.
pub(super) async fn prune(
    registry: &PostgresRegistry,
    events: Timestamp,
    replays: Timestamp,
) -> Result<u64, RegistryError> {
    let mut pruned = 0;
    // What another server is forgetting is left to it.
    for (sql, before) in [
        (
            "DELETE FROM outbox WHERE sequence IN (
                 SELECT sequence FROM outbox WHERE state > 0 AND created_at < $1 LIMIT $2
                 FOR UPDATE SKIP LOCKED) RETURNING 1",
            events,
        ),
        (
            "DELETE FROM replays WHERE key IN (
                 SELECT key FROM replays WHERE created_at < $1 LIMIT $2
                 FOR UPDATE SKIP LOCKED) RETURNING 1",
            replays,
        ),
    ] {
        loop {
            let bite = registry.rows(sql, &[&micros(before), &BITE]).await?.len();
            if bite == 0 {
                break;
            }
            pruned += u64::try_from(bite).unwrap_or(u64::MAX);
        }
    }
    Ok(pruned)
}
