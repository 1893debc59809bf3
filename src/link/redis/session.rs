//! A logged-in connection.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, Value};
use tokio::task::JoinHandle;

use super::{LinkError, RESPONSE_DEADLINE, RedisEndpoint};

/// Whether a server stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One server owns every key.
    Standalone,
    /// The server is a node of a cluster.
    Cluster,
    /// The server is a sentinel, which owns no keys.
    Sentinel,
}

/// What a server is to the keys that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It owns them.
    Primary,
    /// It holds a copy, which may lag and cannot be written.
    Replica,
}

/// A logged-in connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Session {
    endpoint: RedisEndpoint,
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    mode: Mode,
    role: Role,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(super) async fn open(endpoint: &RedisEndpoint) -> Result<Self, LinkError> {
        let stream = endpoint.stream().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_DEADLINE));
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&endpoint.login(), stream, config)
                .await
                .map_err(|error| endpoint.failure(&error))?;
        let mut session = Self {
            endpoint: endpoint.clone(),
            connection,
            driver: tokio::spawn(driver),
            mode: Mode::Standalone,
            role: Role::Primary,
        };
        (session.mode, session.role) = session.identify().await?;
        Ok(session)
    }

    /// Asks what the server is. `HELLO` needs no permission, so it also works for a user who may
    /// only publish; servers older than 6 have `INFO` alone.
    async fn identify(&mut self) -> Result<(Mode, Role), LinkError> {
        let hello = self
            .connection
            .send_packed_command(&redis::cmd("HELLO"))
            .await
            .and_then(Value::extract_error);
        let facts: Vec<(String, String)> = match hello {
            Ok(Value::Array(flat)) => flat
                .chunks_exact(2)
                .filter_map(|pair| {
                    let name = String::from_redis_value_ref(&pair[0]).ok()?;
                    Some((name, String::from_redis_value_ref(&pair[1]).ok()?))
                })
                .collect(),
            Err(error) if error.code() != Some("ERR") => {
                return Err(self.endpoint.failure(&error));
            }
            _ => {
                let info: String = self.query(&redis::cmd("INFO")).await?;
                info.lines()
                    .filter_map(|line| line.trim_end().split_once(':'))
                    .map(|(name, value)| (name.replace("redis_mode", "mode"), value.to_owned()))
                    .collect()
            }
        };
        let fact = |name: &str| facts.iter().find(|f| f.0 == name).map(|f| f.1.as_str());
        let mode = match fact("mode") {
            Some("cluster") => Mode::Cluster,
            Some("sentinel") => Mode::Sentinel,
            _ => Mode::Standalone,
        };
        let role = match fact("role") {
            Some("replica" | "slave") => Role::Replica,
            _ => Role::Primary,
        };
        Ok((mode, role))
    }

    /// Returns where the session is connected to.
    pub fn endpoint(&self) -> &RedisEndpoint {
        &self.endpoint
    }

    /// Returns whether the server stands alone.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns whether the server owned its keys when the session began.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns true when the connection is known to have ended.
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// Fails unless the server owns its keys: a write to a replica is lost or refused, and a
    /// message published on one reaches none of the primary's subscribers.
    pub fn require_primary(&self) -> Result<(), LinkError> {
        let reason = match (self.mode, self.role) {
            (Mode::Sentinel, _) => "it is a sentinel; give the address of the primary",
            (_, Role::Replica) => "it is a replica; give the address of its primary",
            _ => return Ok(()),
        };
        Err(self.endpoint.rejected(reason))
    }

    /// Sends one command and returns its answer.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, LinkError> {
        let answer = self
            .connection
            .send_packed_command(command)
            .await
            .and_then(Value::extract_error)
            .map_err(|error| self.endpoint.failure(&error))?;
        T::from_redis_value(answer)
            .map_err(|error| self.endpoint.rejected(super::printable(&error.to_string())))
    }

    /// Sends commands in one round trip and returns their answers in order. An answer can be a
    /// [`Value::ServerError`]; the call itself fails only with the connection.
    pub async fn pipeline(&mut self, commands: &Pipeline) -> Result<Vec<Value>, LinkError> {
        self.connection
            .send_packed_commands(commands, 0, commands.len())
            .await
            .map_err(|error| self.endpoint.failure(&error))
    }
}
