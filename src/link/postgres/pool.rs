//! Pools of sessions with one login.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, PoolBuilder, RecyclingMethod, Runtime,
    TimeoutType, tokio_postgres::NoTls, tokio_postgres::SimpleQueryMessage,
};

use super::{CONNECT_DEADLINE, PostgresEndpoint};
use crate::link::LinkError;

pub use deadpool_postgres::{Client as PooledSession, Pool, PoolError};

/// How a set of sessions is used at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionUse {
    /// Most that there can be.
    pub most: usize,
    /// Open, and free.
    pub idle: usize,
    /// Open, and working.
    pub busy: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

impl SessionUse {
    /// Returns how a pool is used.
    pub fn of(pool: &Pool) -> Self {
        let status = pool.status();
        Self {
            most: status.max_size,
            idle: status.available,
            busy: status.size.saturating_sub(status.available),
            waiting: status.waiting,
        }
    }
}

impl std::ops::Add for SessionUse {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            most: self.most + other.most,
            idle: self.idle + other.idle,
            busy: self.busy + other.busy,
            waiting: self.waiting + other.waiting,
        }
    }
}

/// Longest time that a pool spends on handing out a session it has.
const RECYCLE_DEADLINE: Duration = Duration::from_secs(2);

/// Makes a session as new, but for prepared statements, which hold no data and whose names the
/// client remembers.
const AS_NEW: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; \
     UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; ";

/// Asks where a session is. In a transaction that somebody left open time stands still.
const WHERE: &str = "SELECT pg_catalog.current_database(), session_user, \
     pg_catalog.current_schema(), pg_catalog.now() = pg_catalog.statement_timestamp()";

/// Where the sessions of a pool belong.
struct Place {
    database: String,
    login: String,
    schema: Option<String>,
}

impl Place {
    async fn check(&self, client: &ClientWrapper, before: &str) -> Result<(), HookError> {
        let answers = client
            .simple_query(&format!("{before}{WHERE}"))
            .await
            .map_err(HookError::Backend)?;
        let row = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let is = |at: usize, wanted: &str| row.and_then(|row| row.get(at)) == Some(wanted);
        if !is(3, "t") {
            return Err(HookError::message("the session was left in a transaction"));
        }
        let schema = self.schema.as_deref().is_none_or(|schema| is(2, schema));
        if is(0, &self.database) && is(1, &self.login) && schema {
            return Ok(());
        }
        Err(HookError::message(
            "the session is not in the database, login and schema that it was opened for",
        ))
    }
}

fn built(builder: PoolBuilder) -> Result<Pool, LinkError> {
    builder.build().map_err(|error| LinkError::Address {
        what: "the pool".into(),
        reason: error.to_string(),
    })
}

impl PostgresEndpoint {
    /// Returns a pool of at most `size` sessions, opened when needed with start-up `options`.
    pub fn pool(&self, size: usize, options: &str) -> Result<Pool, LinkError> {
        built(self.builder(size, options)?)
    }

    /// As [`Self::pool`], of sessions with a primary: a standby may be behind what was
    /// acknowledged, and one that a name leads to by mistake is not asked.
    pub fn primary_pool(&self, size: usize, options: &str) -> Result<Pool, LinkError> {
        let primary = Hook::async_fn(|client: &mut ClientWrapper, _| {
            Box::pin(async move {
                let answers = client
                    .simple_query("SELECT pg_catalog.pg_is_in_recovery()")
                    .await
                    .map_err(HookError::Backend)?;
                let primary = answers.iter().any(|answer| {
                    matches!(answer, SimpleQueryMessage::Row(row) if row.get(0) == Some("f"))
                });
                if primary {
                    return Ok(());
                }
                Err(HookError::message("this PostgreSQL is a standby"))
            })
        });
        built(self.builder(size, options)?.post_create(primary))
    }

    /// Returns a pool whose sessions are as new, and where they belong, each time they are handed
    /// out: transactions, settings, roles, locks and temporary tables of whoever had one before are
    /// gone, and database, login and schema are those of this endpoint, whatever a pooler between
    /// says. A session of which that is not true is closed. At most `size` sessions; whoever finds
    /// all in use waits for `wait`.
    pub fn guarded_pool(&self, size: usize, wait: Duration) -> Result<Pool, LinkError> {
        let place = Arc::new(Place {
            database: self.database.clone(),
            login: self.user.clone(),
            // Unquoted in the start-up option, as products send it, so PostgreSQL folds it.
            schema: self.search_path.as_ref().map(|s| s.to_ascii_lowercase()),
        });
        let of_new = Arc::clone(&place);
        let builder = self
            .builder(size, "")?
            .wait_timeout(Some(wait))
            .post_create(Hook::async_fn(move |client, _| {
                let place = Arc::clone(&of_new);
                Box::pin(async move { place.check(client, "").await })
            }))
            .pre_recycle(Hook::async_fn(move |client, _| {
                let place = Arc::clone(&place);
                Box::pin(async move { place.check(client, AS_NEW).await })
            }));
        built(builder)
    }

    fn builder(&self, size: usize, options: &str) -> Result<PoolBuilder, LinkError> {
        let config = self.config(options)?;
        // A dead session shows when it is used; asking each time would cost a round trip.
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match self.connector()? {
            Some(tls) => Manager::from_config(config, tls, recycling),
            None => Manager::from_config(config, NoTls, recycling),
        };
        Ok(Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_DEADLINE))
            .recycle_timeout(Some(RECYCLE_DEADLINE)))
    }

    /// Sorts what a pool of this endpoint reports into what a caller can act on.
    pub fn pool_error(&self, error: PoolError) -> LinkError {
        let unreachable = |reason: String| LinkError::Unreachable {
            target: self.address(),
            reason,
        };
        match error {
            PoolError::Backend(error) => self.connect_error(&error).link,
            PoolError::Timeout(TimeoutType::Create) => {
                unreachable(format!("no answer within {} s", CONNECT_DEADLINE.as_secs()))
            }
            other => unreachable(other.to_string()),
        }
    }
}
