//! Pools of sessions with one login.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime, TimeoutType, tokio_postgres::NoTls,
};

use super::{CONNECT_DEADLINE, PostgresEndpoint};
use crate::link::LinkError;

pub use deadpool_postgres::{Client as PooledSession, Pool};

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

impl PostgresEndpoint {
    /// Returns a pool of at most `size` sessions, opened when needed with start-up `options`.
    pub fn pool(&self, size: usize, options: &str) -> Result<Pool, LinkError> {
        let config = self.config(options)?;
        // A dead session shows when it is used; asking each time would cost a round trip.
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match self.connector()? {
            Some(tls) => Manager::from_config(config, tls, recycling),
            None => Manager::from_config(config, NoTls, recycling),
        };
        Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_DEADLINE))
            .recycle_timeout(Some(RECYCLE_DEADLINE))
            .build()
            .map_err(|error| LinkError::Address {
                what: "the pool".into(),
                reason: error.to_string(),
            })
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
