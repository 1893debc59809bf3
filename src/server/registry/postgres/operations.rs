//! Operations and their steps in PostgreSQL.
//!
//! A server takes an operation by writing itself into its row as the holder. A unique index lets
//! one operation of a tenant have a holder, whatever servers do. Everything that is noted about
//! an attempt names holder and number of the attempt, so that a server that lost its lease
//! without noticing changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::session::{bounded, execute, query};
use super::{PostgresRegistry, audit, count, number, signed, write};
use crate::contract::TenantId;
use crate::contract::admin::OperationState;
use crate::server::registry::audit::operation_ended;
use crate::server::registry::model::now;
use crate::server::registry::stored::{
    from_json, micros, parse, state, state_number, timestamp, to_json,
};
use crate::server::registry::{
    NewOperation, Operation, OperationFilter, OperationKind, RegistryError, Setback, StepDone,
    StepRow, Tenant,
};

/// How long an operation stays with a server that does not renew its lease.
pub(super) const LEASE: Duration = Duration::from_secs(8);
/// The same for PostgreSQL.
const LEASE_SQL: &str = "clock_timestamp() + interval '8 seconds'";

const COLUMNS: &str = "o.sequence, o.id, o.kind, o.tenant_id, t.slug, o.services, o.state,
    o.parameters, o.error, o.attempts, o.failures, o.not_before, o.created_at, o.updated_at,
    (SELECT coalesce(json_agg(json_build_array(s.position, s.work, s.action, s.target, s.state,
         s.detail) ORDER BY s.position), '[]')::text
     FROM steps s WHERE s.operation = o.sequence)";

/// Not pending and scheduled for later: those others may pass.
const IN_LINE: &str = "(state = 1 OR not_before IS NULL OR not_before <= $1)";

/// A step as [`COLUMNS`] gives it.
type Step = (u32, String, String, String, i32, String);

fn operation_row(row: &Row) -> Result<Operation, RegistryError> {
    let kind: &str = row.try_get(2)?;
    let mut steps = Vec::new();
    for (position, work, action, target, number, detail) in
        from_json::<Vec<Step>>(row.try_get(14)?)?
    {
        steps.push(StepRow {
            position,
            work: from_json(&work)?,
            action,
            target,
            state: state(number)?,
            detail,
        });
    }
    Ok(Operation {
        sequence: row.try_get(0)?,
        id: row.try_get(1)?,
        kind: OperationKind::parse(kind)
            .ok_or_else(|| RegistryError::Corrupt(format!("unknown operation `{kind}`")))?,
        tenant_id: parse(row.try_get(3)?)?,
        tenant_slug: parse(row.try_get(4)?)?,
        services: from_json(row.try_get(5)?)?,
        state: state(row.try_get(6)?)?,
        steps,
        parameters: from_json(row.try_get(7)?)?,
        error: row.try_get(8)?,
        attempts: number(row.try_get(9)?)?,
        failures: number(row.try_get(10)?)?,
        not_before: row
            .try_get::<_, Option<i64>>(11)?
            .map(timestamp)
            .transpose()?,
        created_at: timestamp(row.try_get(12)?)?,
        updated_at: timestamp(row.try_get(13)?)?,
    })
}

/// Returns an operation with its steps.
pub(super) async fn load(
    registry: &PostgresRegistry,
    id: &str,
) -> Result<Option<Operation>, RegistryError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations o JOIN tenants t ON t.id = o.tenant_id WHERE o.id = $1"
    );
    let rows = registry.rows(&sql, &[&id]).await?;
    rows.first().map(operation_row).transpose()
}

/// Returns a page of operations, newest first.
pub(super) async fn page(
    registry: &PostgresRegistry,
    filter: &OperationFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Operation>, RegistryError> {
    let mut sql = format!(
        "SELECT {COLUMNS} FROM operations o JOIN tenants t ON t.id = o.tenant_id WHERE o.sequence < $1"
    );
    let (before, limit) = (before.unwrap_or(i64::MAX), count(limit));
    let tenant = filter.tenant.as_ref().map(TenantId::as_str);
    let state = filter.state.map(state_number);
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&before, &limit];
    if tenant.is_some() {
        parameters.push(&tenant);
        write(
            &mut sql,
            format_args!(" AND o.tenant_id = ${}", parameters.len()),
        );
    }
    if state.is_some() {
        parameters.push(&state);
        write(
            &mut sql,
            format_args!(" AND o.state = ${}", parameters.len()),
        );
    }
    sql.push_str(" ORDER BY o.sequence DESC LIMIT $2");
    let rows = registry.rows(&sql, &parameters).await?;
    rows.iter().map(operation_row).collect()
}

/// Returns a tenant's operations that have not ended, oldest first.
pub(super) async fn unfinished(
    registry: &PostgresRegistry,
    tenant: &TenantId,
) -> Result<Vec<Operation>, RegistryError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations o JOIN tenants t ON t.id = o.tenant_id
         WHERE o.state < 2 AND o.tenant_id = $1 ORDER BY o.sequence"
    );
    let rows = registry.rows(&sql, &[&tenant.as_str()]).await?;
    rows.iter().map(operation_row).collect()
}

/// Returns the operations to work on now: none of a tenant that someone works for.
pub(super) async fn due(
    registry: &PostgresRegistry,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(String, TenantId)>, RegistryError> {
    let sql = format!(
        "SELECT o.id, o.tenant_id FROM operations o
         WHERE state < 2 AND {IN_LINE} AND (retry_at IS NULL OR retry_at <= $1)
           AND NOT EXISTS (
               SELECT 1 FROM operations
               WHERE state < 2 AND tenant_id = o.tenant_id AND sequence < o.sequence AND {IN_LINE})
           AND NOT EXISTS (
               SELECT 1 FROM operations h
               WHERE h.holder IS NOT NULL AND h.tenant_id = o.tenant_id
                 AND h.lease_until > clock_timestamp())
         ORDER BY o.sequence LIMIT $2"
    );
    let rows = registry.rows(&sql, &[&micros(now), &count(limit)]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, parse(row.try_get(1)?)?)))
        .collect()
}

/// Returns when the next waiting operation becomes due.
pub(super) async fn next_due(
    registry: &PostgresRegistry,
    now: Timestamp,
) -> Result<Option<Timestamp>, RegistryError> {
    let row = registry
        .row(
            "SELECT min(at) FROM (
                 SELECT greatest(coalesce(retry_at, 0),
                                 CASE state WHEN 0 THEN coalesce(not_before, 0) ELSE 0 END) AS at
                 FROM operations WHERE state < 2) waiting
             WHERE at > $1",
            &[&micros(now)],
        )
        .await?;
    row.try_get::<_, Option<i64>>(0)?.map(timestamp).transpose()
}

/// Makes operations due that nobody works on. None counts as left behind by this server: it has
/// just begun, and whatever another one left is taken up by anyone.
pub(super) async fn interrupted(registry: &PostgresRegistry) -> Result<Vec<String>, RegistryError> {
    registry
        .rows(
            "UPDATE operations SET retry_at = NULL
             WHERE state < 2 AND retry_at IS NOT NULL AND holder IS NULL",
            &[],
        )
        .await?;
    Ok(Vec::new())
}

/// Takes an operation and begins an attempt; `None` when it has ended or cannot be had.
pub(super) async fn begin(
    registry: &PostgresRegistry,
    id: &str,
) -> Result<Option<Operation>, RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        let begun = take(registry, &transaction, id).await?;
        if begun.is_some() {
            registry.tell_of(&transaction, id).await?;
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(begun)
    })
    .await;
    session.settle(outcome)
}

async fn take(
    registry: &PostgresRegistry,
    transaction: &Transaction<'_>,
    id: &str,
) -> Result<Option<Operation>, RegistryError> {
    // Tenant first, as every change does, so that nobody waits for each other.
    let rows = query(
        transaction,
        "SELECT id FROM tenants WHERE id = (SELECT tenant_id FROM operations WHERE id = $1)
         FOR NO KEY UPDATE",
        &[&id],
    )
    .await?;
    let Some(tenant) = rows.first() else {
        return Ok(None);
    };
    let tenant: String = tenant.try_get(0)?;
    let free = query(
        transaction,
        "SELECT sequence FROM operations WHERE id = $1 AND state < 2 FOR UPDATE SKIP LOCKED",
        &[&id],
    )
    .await?;
    if free.is_empty() {
        return Ok(None);
    }
    // Leases that have run out, and this very operation if the server took it without learning
    // of it.
    execute(
        transaction,
        "UPDATE operations SET holder = NULL, lease_until = NULL
         WHERE holder IS NOT NULL AND tenant_id = $1
           AND (lease_until <= clock_timestamp() OR (holder = $2 AND id = $3))",
        &[&tenant, &registry.instance, &id],
    )
    .await?;
    let taken = execute(
        transaction,
        &format!(
            "UPDATE operations SET state = 1, attempts = attempts + 1, retry_at = NULL,
                 updated_at = $3, holder = $2, lease_until = {LEASE_SQL}
             WHERE id = $1 AND state < 2 AND holder IS NULL"
        ),
        &[&id, &registry.instance, &micros(now())],
    )
    .await;
    match taken {
        Ok(1) => {}
        Ok(_) => return Ok(None),
        // Another operation of the tenant is being worked on.
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let rows = query(
        transaction,
        &format!(
            "SELECT {COLUMNS} FROM operations o JOIN tenants t ON t.id = o.tenant_id WHERE o.id = $1"
        ),
        &[&id],
    )
    .await?;
    let Some(operation) = rows.first().map(operation_row).transpose()? else {
        return Ok(None);
    };
    let ready: Vec<i32> = operation.ready_steps().into_iter().map(signed).collect();
    running(transaction, operation.sequence, &ready).await?;
    Ok(Some(operation))
}

async fn running(
    transaction: &Transaction<'_>,
    operation: i64,
    positions: &[i32],
) -> Result<(), RegistryError> {
    execute(
        transaction,
        "UPDATE steps SET state = 1 WHERE operation = $1 AND position = ANY ($2) AND state <> 2",
        &[&operation, &positions],
    )
    .await?;
    Ok(())
}

/// Notes that a step was done.
pub(super) async fn step_done(
    registry: &PostgresRegistry,
    done: &StepDone,
) -> Result<(), RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        note_step(registry, &transaction, done, false).await?;
        registry.tell_of(&transaction, &done.operation).await?;
        Ok(transaction.commit().await?)
    })
    .await;
    session.settle(outcome)
}

/// Notes that a step was done, and that the operation succeeded when none is left; stale when
/// the attempt is not the present one, or, if it may be done but `once`, when it was done before.
pub(super) async fn note_step(
    registry: &PostgresRegistry,
    transaction: &Transaction<'_>,
    done: &StepDone,
    once: bool,
) -> Result<(), RegistryError> {
    let rows = query(
        transaction,
        "SELECT sequence FROM operations
         WHERE id = $1 AND attempts = $2 AND holder = $3 AND state < 2 FOR NO KEY UPDATE",
        &[&done.operation, &signed(done.attempt), &registry.instance],
    )
    .await?;
    let Some(row) = rows.first() else {
        return Err(RegistryError::Stale);
    };
    let sequence: i64 = row.try_get(0)?;
    let noted = execute(
        transaction,
        "UPDATE steps SET state = 2, detail = $3
         WHERE operation = $1 AND position = $2 AND NOT ($4 AND state = 2)",
        &[&sequence, &signed(done.position), &done.detail, &once],
    )
    .await?;
    if noted == 0 {
        return Err(RegistryError::Stale);
    }
    if let Some(next) = done.next {
        running(transaction, sequence, &[signed(next)]).await?;
    }
    let rows = query(
        transaction,
        "UPDATE operations o SET error = NULL, failures = 0, updated_at = $2,
             state = CASE WHEN left_over THEN 1 ELSE 2 END,
             holder = CASE WHEN left_over THEN holder END,
             lease_until = CASE WHEN left_over THEN lease_until END
         FROM (SELECT EXISTS (SELECT 1 FROM steps WHERE operation = $1 AND state <> 2) AS left_over) l
         WHERE sequence = $1 RETURNING o.state, o.kind, o.tenant_id",
        &[&sequence, &micros(now())],
    )
    .await?;
    if let Some(row) = rows.first()
        && state(row.try_get(0)?)? == OperationState::Succeeded
    {
        let state = OperationState::Succeeded;
        let record = operation_ended(
            &done.operation,
            row.try_get(1)?,
            row.try_get(2)?,
            state,
            None,
        );
        audit::append(registry, transaction, &[record]).await?;
    }
    Ok(())
}

/// Notes how an attempt ended.
pub(super) async fn setback(
    registry: &PostgresRegistry,
    id: &str,
    attempt: Option<u32>,
    setback: &Setback,
    reason: &str,
) -> Result<(), RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        // What was begun must still be this server's; what was not must be nobody's.
        let rows = query(
            &transaction,
            "SELECT sequence FROM operations
             WHERE id = $1 AND state < 2
               AND CASE WHEN $2::integer IS NULL THEN holder IS NULL
                        ELSE attempts = $2 AND holder = $3 END
             FOR NO KEY UPDATE",
            &[&id, &attempt.map(signed), &registry.instance],
        )
        .await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let sequence: i64 = row.try_get(0)?;
        note_setback(registry, &transaction, sequence, setback, reason).await?;
        registry.tell_of(&transaction, id).await?;
        Ok(transaction.commit().await?)
    })
    .await;
    session.settle(outcome)
}

async fn note_setback(
    registry: &PostgresRegistry,
    transaction: &Transaction<'_>,
    sequence: i64,
    setback: &Setback,
    reason: &str,
) -> Result<(), RegistryError> {
    let at = micros(now());
    execute(
        transaction,
        "UPDATE steps SET state = 0 WHERE state = 1 AND operation = $1",
        &[&sequence],
    )
    .await?;
    match setback {
        Setback::Retry(until) => {
            execute(
                transaction,
                "UPDATE operations SET failures = failures + 1, retry_at = $2, error = $3,
                     updated_at = $4, holder = NULL, lease_until = NULL WHERE sequence = $1",
                &[&sequence, &micros(*until), &reason, &at],
            )
            .await?;
        }
        Setback::Defer(until) => {
            execute(
                transaction,
                "UPDATE operations SET state = 0, not_before = $2, error = $3,
                     updated_at = $4, holder = NULL, lease_until = NULL WHERE sequence = $1",
                &[&sequence, &micros(*until), &reason, &at],
            )
            .await?;
        }
        Setback::Failed(position) => {
            if let Some(position) = position {
                execute(
                    transaction,
                    "UPDATE steps SET state = 3, detail = $3 WHERE operation = $1 AND position = $2",
                    &[&sequence, &signed(*position), &reason],
                )
                .await?;
            }
            let rows = query(
                transaction,
                "UPDATE operations SET state = 3, error = $2, updated_at = $3,
                     holder = NULL, lease_until = NULL WHERE sequence = $1
                 RETURNING id, kind, tenant_id",
                &[&sequence, &reason, &at],
            )
            .await?;
            if let Some(row) = rows.first() {
                let record = operation_ended(
                    row.try_get(0)?,
                    row.try_get(1)?,
                    row.try_get(2)?,
                    OperationState::Failed,
                    Some(reason),
                );
                audit::append(registry, transaction, &[record]).await?;
            }
        }
    }
    Ok(())
}

/// Keeps operations; returns those that still are this server's.
pub(super) async fn renew(
    registry: &PostgresRegistry,
    ids: &[String],
) -> Result<Vec<String>, RegistryError> {
    let sql = format!(
        "UPDATE operations SET lease_until = {LEASE_SQL} WHERE holder = $1 AND id = ANY ($2)
         RETURNING id"
    );
    let rows = registry.rows(&sql, &[&registry.instance, &ids]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Lets go of an operation.
pub(super) async fn release(
    registry: &PostgresRegistry,
    id: &str,
    attempt: u32,
) -> Result<(), RegistryError> {
    registry
        .rows(
            "WITH freed AS (
                 UPDATE operations SET holder = NULL, lease_until = NULL
                 WHERE id = $1 AND attempts = $2 AND holder = $3 RETURNING 1)
             SELECT pg_notify($4, 'work') FROM freed",
            &[&id, &signed(attempt), &registry.instance, &registry.channel],
        )
        .await?;
    Ok(())
}

/// Records a new operation.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    tenant: &Tenant,
    operation: &NewOperation,
) -> Result<(), RegistryError> {
    let rows = query(
        transaction,
        "INSERT INTO operations (id, kind, tenant_id, services, parameters, error, not_before, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) RETURNING sequence",
        &[
            &operation.id,
            &operation.kind.as_str(),
            &tenant.id.as_str(),
            &to_json(&operation.services)?,
            &to_json(&operation.parameters)?,
            &operation.note,
            &operation.not_before.map(micros),
            &micros(operation.created_at),
        ],
    )
    .await?;
    let Some(row) = rows.first() else {
        return Err(RegistryError::Corrupt("an operation got no number".into()));
    };
    let sequence: i64 = row.try_get(0)?;
    let (mut works, mut actions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for step in &operation.steps {
        works.push(to_json(&step.work)?);
        actions.push(&step.planned.action);
        targets.push(&step.planned.target);
    }
    execute(
        transaction,
        "INSERT INTO steps (operation, position, work, action, target)
         SELECT $1, at - 1, work, action, target
         FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS s (work, action, target, at)",
        &[&sequence, &works, &actions, &targets],
    )
    .await?;
    Ok(())
}

/// Ends an operation that has become pointless. Its holder, if any, keeps it until it lets go.
pub(super) async fn supersede(
    transaction: &Transaction<'_>,
    id: &str,
    reason: &str,
) -> Result<(), RegistryError> {
    execute(
        transaction,
        "UPDATE steps SET state = 2, detail = $2
         WHERE state < 2 AND operation = (SELECT sequence FROM operations WHERE id = $1)",
        &[&id, &reason],
    )
    .await?;
    execute(
        transaction,
        "UPDATE operations SET state = 2, error = NULL, updated_at = $2 WHERE id = $1 AND state < 2",
        &[&id, &micros(now())],
    )
    .await?;
    Ok(())
}

/// Makes a scheduled operation due at another time.
pub(super) async fn reschedule(
    transaction: &Transaction<'_>,
    id: &str,
    at: Timestamp,
) -> Result<(), RegistryError> {
    execute(
        transaction,
        "UPDATE operations SET not_before = $2, error = NULL, updated_at = $3,
             parameters = (parameters::jsonb || '{\"immediate\": true}')::text
         WHERE id = $1 AND state = 0",
        &[&id, &micros(at), &micros(now())],
    )
    .await?;
    Ok(())
}

/// Counts operations that have not succeeded, by state.
pub(super) async fn tally(
    registry: &PostgresRegistry,
) -> Result<BTreeMap<&'static str, i64>, RegistryError> {
    let mut counts = BTreeMap::new();
    for number in [0, 1, 3] {
        let row = registry
            .row(
                "SELECT count(*) FROM operations WHERE state = $1",
                &[&number],
            )
            .await?;
        counts.insert(state(number)?.as_str(), row.try_get(0)?);
    }
    Ok(counts)
}
