//! Operations and their steps in SQLite.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{audit, from_json, micros, parse, timestamp, to_json};
use crate::audit::MacKey;
use crate::contract::TenantId;
use crate::contract::admin::OperationState;
use crate::server::registry::audit::operation_ended;
use crate::server::registry::model::now;
use crate::server::registry::stored::{state, state_number};
use crate::server::registry::{
    NewOperation, Operation, OperationFilter, OperationKind, RegistryError, Setback, StepDone,
    StepRow, Tenant,
};

const COLUMNS: &str = "o.sequence, o.id, o.kind, o.tenant_id, t.slug, o.services, o.state, \
     o.parameters, o.error, o.attempts, o.failures, o.not_before, o.created_at, o.updated_at";

/// Pending and scheduled for later: others may go first.
const IN_LINE: &str = "(state = 1 OR not_before IS NULL OR not_before <= ?1)";

fn operation_row(connection: &Connection, row: &Row<'_>) -> Result<Operation, RegistryError> {
    let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
    let sequence: i64 = row.get(0)?;
    let kind = text(2)?;
    Ok(Operation {
        sequence,
        id: row.get(1)?,
        kind: OperationKind::parse(kind)
            .ok_or_else(|| RegistryError::Corrupt(format!("unknown operation `{kind}`")))?,
        tenant_id: parse(text(3)?)?,
        tenant_slug: parse(text(4)?)?,
        services: from_json(text(5)?)?,
        state: state(row.get(6)?)?,
        steps: steps(connection, sequence)?,
        parameters: from_json(text(7)?)?,
        error: row.get(8)?,
        attempts: row.get(9)?,
        failures: row.get(10)?,
        not_before: row.get::<_, Option<i64>>(11)?.map(timestamp).transpose()?,
        created_at: timestamp(row.get(12)?)?,
        updated_at: timestamp(row.get(13)?)?,
    })
}

fn steps(connection: &Connection, operation: i64) -> Result<Vec<StepRow>, RegistryError> {
    let mut statement = connection.prepare_cached(
        "SELECT position, work, action, target, state, detail FROM steps WHERE operation = ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([operation])?;
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        steps.push(StepRow {
            position: row.get(0)?,
            work: from_json(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
            action: row.get(2)?,
            target: row.get(3)?,
            state: state(row.get(4)?)?,
            detail: row.get(5)?,
        });
    }
    Ok(steps)
}

fn collect(
    connection: &Connection,
    statement: &mut rusqlite::CachedStatement<'_>,
    parameters: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Operation>, RegistryError> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(operation_row(connection, row)?);
    }
    Ok(found)
}

/// Returns an operation with its steps.
pub(super) fn load(connection: &Connection, id: &str) -> Result<Option<Operation>, RegistryError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM operations o JOIN tenants t ON t.id = o.tenant_id WHERE o.id = ?1"
    ))?;
    Ok(collect(connection, &mut statement, &[&id])?.pop())
}

/// Returns a page of operations, newest first.
pub(super) fn page(
    connection: &Connection,
    filter: &OperationFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Operation>, RegistryError> {
    // A fixed shape per filter, so that each is answered from its index.
    let tenant = if filter.tenant.is_some() {
        "o.tenant_id = ?1"
    } else {
        "?1 IS NULL"
    };
    let state = if filter.state.is_some() {
        "o.state = ?2"
    } else {
        "?2 IS NULL"
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM operations o JOIN tenants t ON t.id = o.tenant_id
         WHERE {tenant} AND {state} AND o.sequence < ?3 ORDER BY o.sequence DESC LIMIT ?4"
    ))?;
    collect(
        connection,
        &mut statement,
        &[
            &filter.tenant.as_ref().map(TenantId::as_str),
            &filter.state.map(state_number),
            &before.unwrap_or(i64::MAX),
            &limit,
        ],
    )
}

/// Returns a tenant's operations that have not ended, oldest first.
pub(super) fn unfinished(
    connection: &Connection,
    tenant: &TenantId,
) -> Result<Vec<Operation>, RegistryError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM operations o INDEXED BY operations_unfinished
         JOIN tenants t ON t.id = o.tenant_id
         WHERE o.state < 2 AND o.tenant_id = ?1 ORDER BY o.sequence"
    ))?;
    collect(connection, &mut statement, &[&tenant.as_str()])
}

/// Returns the operations to work on now.
pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(String, TenantId)>, RegistryError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, tenant_id FROM operations AS o INDEXED BY operations_waiting
         WHERE state < 2 AND {IN_LINE} AND (retry_at IS NULL OR retry_at <= ?1)
           AND NOT EXISTS (
               SELECT 1 FROM operations INDEXED BY operations_unfinished
               WHERE state < 2 AND tenant_id = o.tenant_id AND sequence < o.sequence AND {IN_LINE})
         ORDER BY o.sequence LIMIT ?2"
    ))?;
    let mut rows = statement.query(params![micros(now), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant: String = row.get(1)?;
        found.push((row.get(0)?, parse(&tenant)?));
    }
    Ok(found)
}

/// Returns when the next waiting operation becomes due.
pub(super) fn next_due(
    connection: &Connection,
    now: Timestamp,
) -> Result<Option<Timestamp>, RegistryError> {
    connection
        .prepare_cached(
            "SELECT min(max(coalesce(retry_at, 0), CASE state WHEN 0 THEN coalesce(not_before, 0) ELSE 0 END))
             FROM operations INDEXED BY operations_waiting
             WHERE state < 2
               AND max(coalesce(retry_at, 0), CASE state WHEN 0 THEN coalesce(not_before, 0) ELSE 0 END) > ?1",
        )?
        .query_row([micros(now)], |row| row.get::<_, Option<i64>>(0))?
        .map(timestamp)
        .transpose()
}

/// Returns the operations that were begun and not ended; none of them waits any longer.
pub(super) fn interrupted(connection: &Connection) -> Result<Vec<String>, RegistryError> {
    connection.execute(
        "UPDATE operations INDEXED BY operations_waiting SET retry_at = NULL WHERE state < 2",
        [],
    )?;
    let mut statement = connection.prepare_cached(
        "SELECT id FROM operations INDEXED BY operations_waiting WHERE state < 2 AND state = 1",
    )?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Records a new operation.
pub(super) fn insert(
    connection: &Connection,
    tenant: &Tenant,
    operation: &NewOperation,
) -> Result<(), RegistryError> {
    connection
        .prepare_cached(
            "INSERT INTO operations (id, kind, tenant_id, services, parameters, error, not_before, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
        )?
        .execute(params![
            operation.id,
            operation.kind.as_str(),
            tenant.id.as_str(),
            to_json(&operation.services)?,
            to_json(&operation.parameters)?,
            operation.note,
            operation.not_before.map(micros),
            micros(operation.created_at),
        ])?;
    let sequence = connection.last_insert_rowid();
    let mut statement = connection.prepare_cached(
        "INSERT INTO steps (operation, position, work, action, target) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (position, step) in (0_u32..).zip(&operation.steps) {
        statement.execute(params![
            sequence,
            position,
            to_json(&step.work)?,
            step.planned.action,
            step.planned.target,
        ])?;
    }
    Ok(())
}

/// Ends an operation that has become pointless.
pub(super) fn supersede(
    connection: &Connection,
    id: &str,
    reason: &str,
) -> Result<(), RegistryError> {
    connection
        .prepare_cached(
            "UPDATE steps SET state = 2, detail = ?2
             WHERE state < 2 AND operation = (SELECT sequence FROM operations WHERE id = ?1)",
        )?
        .execute(params![id, reason])?;
    connection
        .prepare_cached(
            "UPDATE operations SET state = 2, error = NULL, updated_at = ?2 WHERE id = ?1 AND state < 2",
        )?
        .execute(params![id, micros(now())])?;
    Ok(())
}

/// Makes a scheduled operation due at another time.
pub(super) fn reschedule(
    connection: &Connection,
    id: &str,
    at: Timestamp,
) -> Result<(), RegistryError> {
    connection
        .prepare_cached(
            "UPDATE operations SET not_before = ?2, error = NULL, updated_at = ?3,
                 parameters = json_set(parameters, '$.immediate', json('true'))
             WHERE id = ?1 AND state = 0",
        )?
        .execute(params![id, micros(at), micros(now())])?;
    Ok(())
}

/// Notes that an operation is being worked on; `None` when it has ended.
pub(super) fn begin(connection: &Connection, id: &str) -> Result<Option<Operation>, RegistryError> {
    let changed = connection
        .prepare_cached(
            "UPDATE operations SET state = 1, attempts = attempts + 1, retry_at = NULL, updated_at = ?2
             WHERE id = ?1 AND state < 2",
        )?
        .execute(params![id, micros(now())])?;
    if changed == 0 {
        return Ok(None);
    }
    let mut operation = load(connection, id)?;
    if let Some(operation) = &mut operation {
        for position in operation.ready_steps() {
            running(connection, operation.sequence, position)?;
        }
    }
    Ok(operation)
}

fn running(connection: &Connection, operation: i64, position: u32) -> Result<(), RegistryError> {
    connection
        .prepare_cached(
            "UPDATE steps SET state = 1 WHERE operation = ?1 AND position = ?2 AND state <> 2",
        )?
        .execute(params![operation, position])?;
    Ok(())
}

/// Stale when a step was done before: a change that is a step is never made twice.
pub(super) fn not_done(connection: &Connection, step: &StepDone) -> Result<(), RegistryError> {
    let done: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM steps s JOIN operations o ON o.sequence = s.operation
                            WHERE o.id = ?1 AND s.position = ?2 AND s.state = 2)",
        )?
        .query_row(params![step.operation, step.position], |row| row.get(0))?;
    if done {
        return Err(RegistryError::Stale);
    }
    Ok(())
}

/// Notes that a step was done, and that the operation succeeded when none is left.
pub(super) fn step_done(
    connection: &Connection,
    key: Option<&MacKey>,
    done: &StepDone,
) -> Result<(), RegistryError> {
    let sequence: Option<i64> = connection
        .prepare_cached(
            "SELECT sequence FROM operations WHERE id = ?1 AND attempts = ?2 AND state < 2",
        )?
        .query_row(params![done.operation, done.attempt], |row| row.get(0))
        .optional()?;
    let Some(sequence) = sequence else {
        return Err(RegistryError::Stale);
    };
    connection
        .prepare_cached(
            "UPDATE steps SET state = 2, detail = ?3 WHERE operation = ?1 AND position = ?2",
        )?
        .execute(params![sequence, done.position, done.detail])?;
    if let Some(next) = done.next {
        running(connection, sequence, next)?;
    }
    let (ended, kind, tenant): (i32, String, String) = connection
        .prepare_cached(
            "UPDATE operations SET error = NULL, failures = 0, updated_at = ?2,
                 state = CASE WHEN EXISTS (SELECT 1 FROM steps WHERE operation = ?1 AND state <> 2)
                         THEN 1 ELSE 2 END
             WHERE sequence = ?1 RETURNING state, kind, tenant_id",
        )?
        .query_row(params![sequence, micros(now())], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if state(ended)? == OperationState::Succeeded {
        let state = OperationState::Succeeded;
        let record = operation_ended(&done.operation, &kind, &tenant, state, None);
        audit::append(connection, key, &[record])?;
    }
    Ok(())
}

/// Notes how an attempt ended.
pub(super) fn setback(
    connection: &Connection,
    key: Option<&MacKey>,
    id: &str,
    attempt: Option<u32>,
    setback: &Setback,
    reason: &str,
) -> Result<(), RegistryError> {
    let at = micros(now());
    let current: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM operations
                            WHERE id = ?1 AND state < 2 AND (?2 IS NULL OR attempts = ?2))",
        )?
        .query_row(params![id, attempt], |row| row.get(0))?;
    if !current {
        return Ok(());
    }
    connection
        .prepare_cached(
            "UPDATE steps SET state = 0 WHERE state = 1
               AND operation = (SELECT sequence FROM operations WHERE id = ?1 AND state < 2)",
        )?
        .execute([id])?;
    match setback {
        Setback::Retry(until) => connection
            .prepare_cached(
                "UPDATE operations SET failures = failures + 1, retry_at = ?2, error = ?3, updated_at = ?4
                 WHERE id = ?1 AND state < 2",
            )?
            .execute(params![id, micros(*until), reason, at])?,
        Setback::Defer(until) => connection
            .prepare_cached(
                "UPDATE operations SET state = 0, not_before = ?2, error = ?3, updated_at = ?4
                 WHERE id = ?1 AND state < 2",
            )?
            .execute(params![id, micros(*until), reason, at])?,
        Setback::Failed(position) => {
            if let Some(position) = position {
                connection
                    .prepare_cached(
                        "UPDATE steps SET state = 3, detail = ?3 WHERE position = ?2
                           AND operation = (SELECT sequence FROM operations WHERE id = ?1)",
                    )?
                    .execute(params![id, position, reason])?;
            }
            let ended: Option<(String, String)> = connection
                .prepare_cached(
                    "UPDATE operations SET state = 3, error = ?2, updated_at = ?3
                     WHERE id = ?1 AND state < 2 RETURNING kind, tenant_id",
                )?
                .query_row(params![id, reason, at], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            if let Some((kind, tenant)) = ended {
                let state = OperationState::Failed;
                let record = operation_ended(id, &kind, &tenant, state, Some(reason));
                audit::append(connection, key, &[record])?;
            }
            0
        }
    };
    Ok(())
}

/// Counts operations that have not succeeded, by state.
pub(super) fn count(connection: &Connection) -> Result<BTreeMap<&'static str, i64>, RegistryError> {
    let mut counts = BTreeMap::new();
    for number in [0, 1, 3] {
        let word = state(number)?.as_str();
        let count = connection
            .prepare_cached(
                "SELECT count(*) FROM operations INDEXED BY operations_by_state WHERE state = ?1",
            )?
            .query_row([number], |row| row.get(0))?;
        counts.insert(word, count);
    }
    Ok(counts)
}
