//! Sessions of the registry: borrowed from a pool, with a deadline, given back only in order.

use std::error::Error as _;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::{PostgresRegistry, others};
use crate::link::postgres::PooledSession;
use crate::server::registry::RegistryError;

/// Longest time for one read or one change, waiting for locks included.
const DEADLINE: Duration = Duration::from_secs(12);

/// What our sessions start with. The deadlines are shorter than [`DEADLINE`], so that the server
/// gives up first and says why. A server that hangs in the middle of a transaction loses its locks
/// before those who wait for them give up.
pub(super) const OPTIONS: &str = "-c statement_timeout=10s -c lock_timeout=8s \
     -c idle_in_transaction_session_timeout=4s -c client_min_messages=warning \
     -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off \
     -c synchronous_commit=on -c DateStyle=ISO -c TimeZone=UTC";

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Returns what the server or the driver says, for a person.
pub(in crate::server) fn sql_error(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// As [`sql_error`], with what the role was not allowed.
pub(super) fn open_error(error: &tokio_postgres::Error, purpose: &str) -> String {
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return format!("its role has no right {purpose}: {}", sql_error(error));
    }
    sql_error(error)
}

/// Returns true when the session is gone, so that nothing more can be said about it.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed()
        || error.as_db_error().map_or(
            // Everything that is no answer of the server is trouble on the way.
            error
                .source()
                .is_some_and(<dyn std::error::Error>::is::<std::io::Error>),
            |db| {
                matches!(
                    *db.code(),
                    SqlState::ADMIN_SHUTDOWN
                        | SqlState::CRASH_SHUTDOWN
                        | SqlState::CANNOT_CONNECT_NOW
                        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                )
            },
        )
}

impl From<tokio_postgres::Error> for RegistryError {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = sql_error(&error);
        let Some(code) = error.code() else {
            return if is_lost(&error) {
                Self::Unavailable(reason)
            } else {
                Self::Corrupt(reason)
            };
        };
        // Connections, resources, operators, I/O, and what passes by itself: deadlocks, timeouts,
        // a server that is a standby, a role or database that is being changed.
        let passes = ["08", "25", "28", "3D", "40", "53", "55", "57", "58"]
            .iter()
            .any(|class| code.code().starts_with(class));
        if passes {
            Self::Unavailable(reason)
        } else {
            Self::Corrupt(reason)
        }
    }
}

/// Turns a broken uniqueness into "read again": someone else was faster.
pub(super) fn stale_on_conflict(error: tokio_postgres::Error) -> RegistryError {
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
        RegistryError::Stale
    } else {
        error.into()
    }
}

/// A session that is given back only when its work came to an end.
pub(super) struct Borrowed(Option<PooledSession>);

impl Deref for Borrowed {
    type Target = ClientWrapper;
    fn deref(&self) -> &ClientWrapper {
        self.0
            .as_deref()
            .expect("it is there until it is given back")
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        self.0
            .as_deref_mut()
            .expect("it is there until it is given back")
    }
}

impl Borrowed {
    /// Gives the session back, unless it failed, and returns the outcome.
    pub(super) fn settle<T>(
        mut self,
        outcome: Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let sound = !matches!(
            outcome,
            Err(RegistryError::Unavailable(_) | RegistryError::Unclear(_))
        );
        if sound {
            drop(self.0.take());
        }
        outcome
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // Whatever was under way is not waited for: the server ends it with the session.
        if let Some(session) = self.0.take() {
            drop(Object::take(session));
        }
    }
}

/// Runs work on a session, but not for ever.
pub(super) async fn bounded<T>(
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| {
            Err(RegistryError::Unavailable(format!(
                "PostgreSQL did not answer within {} s",
                DEADLINE.as_secs()
            )))
        })
}

impl PostgresRegistry {
    /// Returns a session.
    pub(super) async fn borrow(&self) -> Result<Borrowed, RegistryError> {
        self.open_still()?;
        let session = tokio::time::timeout(DEADLINE, self.pool.get())
            .await
            .map_err(|_| RegistryError::Unavailable("every session is busy".into()))?;
        let session = session.map_err(|error| {
            RegistryError::Unavailable(self.endpoint.pool_error(error).to_string())
        })?;
        Ok(Borrowed(Some(session)))
    }

    /// Returns the rows of one statement, which is one moment of the registry.
    pub(super) async fn rows(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, RegistryError> {
        let mut again = true;
        loop {
            let session = self.borrow().await?;
            let mut lost = false;
            let outcome = bounded(async {
                let asked = async {
                    let statement = session.prepare_cached(sql).await?;
                    session.query(&statement, parameters).await
                };
                asked.await.map_err(|error| {
                    lost = is_lost(&error);
                    error.into()
                })
            });
            let outcome = outcome.await;
            let outcome = session.settle(outcome);
            // A session that died unnoticed while it was idle says nothing about the server.
            if lost && std::mem::take(&mut again) {
                continue;
            }
            return outcome;
        }
    }

    /// Returns the one row of a statement that always has one.
    pub(super) async fn row(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Row, RegistryError> {
        self.rows(sql, parameters)
            .await?
            .pop()
            .ok_or_else(|| RegistryError::Corrupt("a statement gave no row".into()))
    }

    /// Returns a session for a change of tenants or keys, which waits for the read leases: they
    /// are called in.
    pub(super) async fn to_change(&self) -> Result<Borrowed, RegistryError> {
        let session = self.awake().await?;
        bounded(others::call_in_read_leases(self, &session)).await?;
        Ok(session)
    }

    /// Returns a session that has just answered, for a change.
    pub(super) async fn awake(&self) -> Result<Borrowed, RegistryError> {
        for _ in 0..=self.pool.status().max_size {
            let session = self.borrow().await?;
            match bounded(async { Ok(session.simple_query("").await) }).await? {
                Ok(_) => return Ok(session),
                Err(error) if is_lost(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RegistryError::Unavailable(
            "PostgreSQL ends every session".into(),
        ))
    }
}

/// Runs a statement in a transaction; returns how many rows it changed.
pub(super) async fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<u64, tokio_postgres::Error> {
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, parameters).await
}

/// Runs a statement in a transaction; returns its rows.
pub(super) async fn query(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = transaction.prepare_cached(sql).await?;
    transaction.query(&statement, parameters).await
}
