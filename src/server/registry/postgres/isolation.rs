//! The check of isolation in PostgreSQL.

use std::time::Duration;

use tokio_postgres::Row;

use super::session::{bounded, execute};
use super::{PostgresRegistry, audit};
use crate::contract::audit::AuditRecord;
use crate::server::registry::RegistryError;
use crate::server::registry::isolation::{
    CheckDone, CheckEnd, CheckState, LEASE, StoredReport, TAKEN_OVER,
};
use crate::server::registry::stored::{from_json, timestamp, to_json};

/// Now, by the clock that all servers share.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

fn time(row: &Row, at: usize) -> Result<Option<jiff::Timestamp>, RegistryError> {
    row.try_get::<_, Option<i64>>(at)?
        .map(timestamp)
        .transpose()
}

fn json<T: serde::de::DeserializeOwned>(row: &Row, at: usize) -> Result<Option<T>, RegistryError> {
    row.try_get::<_, Option<String>>(at)?
        .map(|text| from_json(&text))
        .transpose()
}

/// Returns what is known of the check; what nobody renews is not under way.
pub(super) async fn state(registry: &PostgresRegistry) -> Result<CheckState, RegistryError> {
    let sql = format!(
        "SELECT CASE WHEN held_until >= {NOW} THEN holder END, begun_at, asked_at, summary, failure
         FROM isolation_check"
    );
    let rows = registry.rows(&sql, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(CheckState::default());
    };
    Ok(CheckState {
        holder: row.try_get(0)?,
        begun_at: time(row, 1)?,
        asked_at: time(row, 2)?,
        last: json(row, 3)?,
        failed: json(row, 4)?,
    })
}

/// Returns the last report.
pub(super) async fn report(
    registry: &PostgresRegistry,
) -> Result<Option<StoredReport>, RegistryError> {
    let sql = "SELECT report, attestation FROM isolation_check WHERE report IS NOT NULL";
    let rows = registry.rows(sql, &[]).await?;
    rows.first()
        .map(|row| {
            Ok(StoredReport {
                report: row.try_get(0)?,
                attestation: row.try_get(1)?,
            })
        })
        .transpose()
}

/// Notes that a run is asked for, unless one is already.
pub(super) async fn ask(
    registry: &PostgresRegistry,
    records: &[AuditRecord],
) -> Result<(), RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        let sql = format!(
            "INSERT INTO isolation_check AS c (one, asked_at) VALUES (1, {NOW})
             ON CONFLICT (one) DO UPDATE SET asked_at = coalesce(c.asked_at, excluded.asked_at)"
        );
        execute(&transaction, &sql, &[]).await?;
        audit::append(registry, &transaction, records).await?;
        registry.tell(&transaction, "isolation").await?;
        transaction.commit().await?;
        Ok(())
    })
    .await;
    session.settle(outcome)
}

/// Takes the check when it is due and nobody has it.
pub(super) async fn begin(
    registry: &PostgresRegistry,
    run: &str,
    every: Duration,
) -> Result<bool, RegistryError> {
    // A row to lock. Whoever finds one waits for nobody.
    let made = "INSERT INTO isolation_check (one) VALUES (1) ON CONFLICT DO NOTHING";
    registry.rows(made, &[]).await?;
    let sql = format!(
        "UPDATE isolation_check SET
             taken_over = CASE WHEN holder IS NULL THEN 0 ELSE taken_over + 1 END,
             holder = $1, begun_at = {NOW}, held_until = {NOW} + $2, asked_at = NULL
         WHERE (holder IS NULL OR held_until < {NOW})
           AND (begun_at IS NULL OR asked_at IS NOT NULL OR begun_at + $3 <= {NOW}
                OR (holder IS NOT NULL AND taken_over < $4))
         RETURNING 1"
    );
    let lease = micros(LEASE);
    let parameters: super::session::Parameters<'_> = &[&run, &lease, &micros(every), &TAKEN_OVER];
    Ok(!registry.rows(&sql, parameters).await?.is_empty())
}

/// Keeps a run with this server; false when it is somebody else's.
pub(super) async fn renew(registry: &PostgresRegistry, run: &str) -> Result<bool, RegistryError> {
    let sql = format!(
        "UPDATE isolation_check SET held_until = {NOW} + $2
         WHERE holder = $1 AND held_until >= {NOW} RETURNING 1"
    );
    let rows = registry.rows(&sql, &[&run, &micros(LEASE)]).await?;
    Ok(!rows.is_empty())
}

/// Keeps what came of a run; false when it is somebody else's.
pub(super) async fn end(
    registry: &PostgresRegistry,
    done: &CheckDone,
) -> Result<bool, RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        let run = &done.run;
        let changed =
            match &done.end {
                CheckEnd::Done(summary, stored) => execute(
                    &transaction,
                    "UPDATE isolation_check SET holder = NULL, held_until = NULL, taken_over = 0,
                         summary = $2, failure = NULL, report = $3, attestation = $4
                     WHERE holder = $1",
                    &[run, &to_json(summary)?, &stored.report, &stored.attestation],
                )
                .await?,
                CheckEnd::Failed(failure) => execute(
                    &transaction,
                    "UPDATE isolation_check SET holder = NULL, held_until = NULL, taken_over = 0,
                         failure = $2
                     WHERE holder = $1",
                    &[run, &to_json(failure)?],
                )
                .await?,
                CheckEnd::Stopped => execute(
                    &transaction,
                    "UPDATE isolation_check SET holder = NULL, held_until = NULL, begun_at = NULL
                     WHERE holder = $1",
                    &[run],
                )
                .await?,
            };
        if changed == 0 {
            return Ok(false);
        }
        audit::append(registry, &transaction, &done.audit).await?;
        registry.tell(&transaction, "isolation").await?;
        transaction.commit().await?;
        Ok(true)
    })
    .await;
    session.settle(outcome)
}
