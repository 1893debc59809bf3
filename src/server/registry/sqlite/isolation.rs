//! The check of isolation in SQLite, where one server at a time has the registry: a run that is
//! there at its start was left behind.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{audit, from_json, micros, timestamp, to_json};
use crate::audit::MacKey;
use crate::contract::audit::AuditRecord;
use crate::server::registry::RegistryError;
use crate::server::registry::isolation::{
    CheckDone, CheckEnd, CheckState, LEASE, StoredReport, TAKEN_OVER,
};
use crate::server::registry::model::now;

fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// Columns as they are stored.
type Stored = (
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<String>,
);

/// Returns what is known of the check; what nobody renews is not under way.
pub(super) fn state(connection: &Connection) -> Result<CheckState, RegistryError> {
    let found: Option<Stored> = connection
        .prepare_cached(
            "SELECT CASE WHEN held_until >= ?1 THEN holder END, begun_at, asked_at, summary, failure
             FROM isolation_check",
        )?
        .query_row([micros(now())], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((holder, begun_at, asked_at, last, failed)) = found else {
        return Ok(CheckState::default());
    };
    Ok(CheckState {
        holder,
        begun_at: begun_at.map(timestamp).transpose()?,
        asked_at: asked_at.map(timestamp).transpose()?,
        last: last.map(|text| from_json(&text)).transpose()?,
        failed: failed.map(|text| from_json(&text)).transpose()?,
    })
}

/// Returns the last report.
pub(super) fn report(connection: &Connection) -> Result<Option<StoredReport>, RegistryError> {
    Ok(connection
        .prepare_cached("SELECT report, attestation FROM isolation_check WHERE report IS NOT NULL")?
        .query_row([], |row| {
            Ok(StoredReport {
                report: row.get(0)?,
                attestation: row.get(1)?,
            })
        })
        .optional()?)
}

/// Notes that a run is asked for, unless one is already.
pub(super) fn ask(
    connection: &Connection,
    key: Option<&MacKey>,
    records: &[AuditRecord],
) -> Result<(), RegistryError> {
    connection
        .prepare_cached(
            "INSERT INTO isolation_check (one, asked_at) VALUES (1, ?1)
             ON CONFLICT (one) DO UPDATE SET asked_at = coalesce(asked_at, excluded.asked_at)",
        )?
        .execute([micros(now())])?;
    audit::append(connection, key, records)
}

/// Takes the check when it is due and nobody has it.
pub(super) fn begin(
    connection: &Connection,
    run: &str,
    every: Duration,
) -> Result<bool, RegistryError> {
    connection.execute(
        "INSERT INTO isolation_check (one) VALUES (1) ON CONFLICT DO NOTHING",
        [],
    )?;
    let changed = connection
        .prepare_cached(
            "UPDATE isolation_check SET
                 taken_over = CASE WHEN holder IS NULL THEN 0 ELSE taken_over + 1 END,
                 holder = ?1, begun_at = ?5, held_until = ?5 + ?2, asked_at = NULL
             WHERE (holder IS NULL OR held_until < ?5)
               AND (begun_at IS NULL OR asked_at IS NOT NULL OR begun_at + ?3 <= ?5
                    OR (holder IS NOT NULL AND taken_over < ?4))",
        )?
        .execute(params![
            run,
            span(LEASE),
            span(every),
            TAKEN_OVER,
            micros(now())
        ])?;
    Ok(changed > 0)
}

/// Keeps a run with this server; false when it is somebody else's.
pub(super) fn renew(connection: &Connection, run: &str) -> Result<bool, RegistryError> {
    let changed = connection
        .prepare_cached("UPDATE isolation_check SET held_until = ?2 WHERE holder = ?1")?
        .execute(params![run, micros(now()) + span(LEASE)])?;
    Ok(changed > 0)
}

/// Keeps what came of a run; false when it is somebody else's.
pub(super) fn end(
    connection: &Connection,
    key: Option<&MacKey>,
    done: &CheckDone,
) -> Result<bool, RegistryError> {
    let run = &done.run;
    let changed = match &done.end {
        CheckEnd::Done(summary, stored) => connection
            .prepare_cached(
                "UPDATE isolation_check SET holder = NULL, held_until = NULL, taken_over = 0,
                     summary = ?2, failure = NULL, report = ?3, attestation = ?4
                 WHERE holder = ?1",
            )?
            .execute(params![
                run,
                to_json(summary)?,
                stored.report,
                stored.attestation
            ])?,
        CheckEnd::Failed(failure) => connection
            .prepare_cached(
                "UPDATE isolation_check SET holder = NULL, held_until = NULL, taken_over = 0,
                     failure = ?2
                 WHERE holder = ?1",
            )?
            .execute(params![run, to_json(failure)?])?,
        CheckEnd::Stopped => connection
            .prepare_cached(
                "UPDATE isolation_check SET holder = NULL, held_until = NULL, begun_at = NULL
                 WHERE holder = ?1",
            )?
            .execute([run])?,
    };
    if changed == 0 {
        return Ok(false);
    }
    audit::append(connection, key, &done.audit)?;
    Ok(true)
}
