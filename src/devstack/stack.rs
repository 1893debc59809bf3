//! PostgreSQL and Redis under one data folder: what `lerianctl dev` runs.
//!
//! The data folder holds `keys/` (secrets, each in a file of its own), `log/`, `registry/` (for the
//! Tenant Manager), `servers/` (or `servers.path`, when root's servers must lie elsewhere),
//! `state.json` and `lock`. It carries a marker file; without it nothing in a folder is touched.

mod control;
mod home;
mod keys;
mod place;
mod state;
mod supervise;

pub use control::{Down, Health, ServerStatus, Status, down, reset, status};
pub use home::Home;
pub use keys::{Connections, Keys};
pub use state::{ServerState, State};
pub use supervise::Incident;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::DevstackError;
use super::account::Account;
use super::folder;
use super::postgres::{Postgres, PostgresSettings, made_by};
use super::process::ProcessId;
use super::programs::{
    MissingPrograms, PostgresPrograms, find_postgres, find_postgres_version, find_redis,
};
use super::redis::{Redis, RedisSettings};
use crate::link::postgres::PostgresEndpoint;
use crate::link::redis::RedisEndpoint;
use home::Lock;

/// How a stack is run.
#[derive(Debug, Clone)]
pub struct StackSettings {
    /// The value of PATH, where programs are looked for first.
    pub path: OsString,
    /// The only folder where PostgreSQL's programs are looked for.
    pub postgres_bin: Option<PathBuf>,
    /// A PostgreSQL that exists already, to use instead of a private one.
    pub postgres: Option<PostgresEndpoint>,
    /// A Redis that exists already, to use instead of a private one.
    pub redis: Option<RedisEndpoint>,
    /// Whether data must survive a crash of the machine; kill -9 it always survives.
    pub durable: bool,
}

impl Default for StackSettings {
    fn default() -> Self {
        Self {
            path: OsString::new(),
            postgres_bin: None,
            postgres: None,
            redis: None,
            durable: true,
        }
    }
}

/// A development stack whose data folder is ours alone until this is dropped.
///
/// Dropping it stops the servers, as [`Stack::stop`] does in good order.
#[derive(Debug)]
pub struct Stack {
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    connections: Option<Connections>,
    settings: StackSettings,
    state: Mutex<State>,
    keys: Keys,
    home: Home,
    // The last field: the folder is free when everything above is gone.
    _lock: Lock,
}

impl Stack {
    /// Takes the data folder `data`, which is made when there is none; starts nothing yet.
    pub fn open(data: &Path, settings: StackSettings) -> Result<Self, DevstackError> {
        let home = Home::prepare(data)?;
        let lock = home.lock()?.ok_or_else(|| home.busy())?;
        home.sweep()?;
        let mut state = State::read(&home)?;
        state.begin(ProcessId::current());
        state.write(&home)?;
        Ok(Self {
            postgres: None,
            redis: None,
            connections: None,
            settings,
            state: Mutex::new(state),
            keys: Keys::new(&home),
            home,
            _lock: lock,
        })
    }

    /// Starts both servers, or checks that the existing ones answer, and returns how they are
    /// reached.
    ///
    /// What an earlier run left behind is stopped first. The ports of the earlier run are used
    /// again when they are free.
    pub async fn start(&mut self) -> Result<&Connections, DevstackError> {
        let known = self.home.known_servers()?;
        if let Some(servers) = &known {
            // Whatever is not wanted any more must not run on.
            place::stop_strays_in(servers).await?;
        }
        let (postgres_programs, redis_program) = self.programs(known.as_deref())?;
        let account = match &known {
            Some(servers) => Account::for_data(&servers.join("postgres/data"))?,
            None => Account::for_servers()?,
        };
        let servers = if postgres_programs.is_some() || redis_program.is_some() {
            self.home.servers(account.as_ref()).await?
        } else {
            PathBuf::new()
        };

        let (postgres_port, redis_port) = self.with_state(|state| {
            let port = |server: &Option<ServerState>| {
                let server = server.as_ref().filter(|server| server.managed)?;
                Some(server.port)
            };
            (port(&state.postgres), port(&state.redis))
        });
        let mode = folder::mode_for(account.as_ref());
        let postgres = async {
            let Some(programs) = postgres_programs else {
                return Ok(None);
            };
            let folder = servers.join("postgres");
            folder::ensure(&folder, mode, None)?;
            Postgres::start(PostgresSettings {
                programs,
                folder,
                account: account.clone(),
                password: self.keys.postgres_password()?,
                port: postgres_port,
                max_connections: 200,
                durable: self.settings.durable,
                log: self.home.log("postgres"),
            })
            .await
            .map(Some)
        };
        let redis = async {
            let Some(program) = redis_program else {
                return Ok(None);
            };
            let folder = servers.join("redis");
            folder::ensure(&folder, mode, None)?;
            Redis::start(RedisSettings {
                program,
                folder,
                account: account.clone(),
                password: self.keys.redis_password()?,
                port: redis_port,
                persistent: true,
                cluster: false,
                directives: Vec::new(),
                log: self.home.log("redis"),
            })
            .await
            .map(Some)
        };
        let (postgres, redis) = tokio::try_join!(postgres, redis)?;
        let connections = Connections {
            postgres: match (&postgres, &self.settings.postgres) {
                (Some(server), _) => server.endpoint(),
                (None, Some(existing)) => existing.clone(),
                (None, None) => unreachable!("without an existing server one was started"),
            },
            redis: match (&redis, &self.settings.redis) {
                (Some(server), _) => server.endpoint(),
                (None, Some(existing)) => existing.clone(),
                (None, None) => unreachable!("without an existing server one was started"),
            },
        };
        if postgres.is_none() {
            connections.postgres.connect().await?.close().await;
        }
        if redis.is_none() {
            connections.redis.connect().await?;
        }
        self.keys.write_connections(&connections)?;
        self.update(|state| {
            state.postgres = Some(ServerState {
                managed: postgres.is_some(),
                host: connections.postgres.host.clone(),
                port: connections.postgres.port,
                process: postgres.as_ref().map(|server| server.process().clone()),
            });
            state.redis = Some(ServerState {
                managed: redis.is_some(),
                host: connections.redis.host.clone(),
                port: connections.redis.port,
                process: redis.as_ref().map(|server| server.process().clone()),
            });
        })?;
        self.postgres = postgres;
        self.redis = redis;
        Ok(self.connections.insert(connections))
    }

    /// Finds the programs of the servers that are not given; `servers` is their folder when there
    /// is one already.
    fn programs(
        &self,
        servers: Option<&Path>,
    ) -> Result<(Option<PostgresPrograms>, Option<PathBuf>), DevstackError> {
        let path = self.settings.path.as_os_str();
        let bin = self.settings.postgres_bin.as_deref();
        let wants_postgres = self.settings.postgres.is_none();
        let wants_redis = self.settings.redis.is_none();
        let mut postgres = wants_postgres.then(|| find_postgres(path, bin)).flatten();
        let redis = wants_redis.then(|| find_redis(path)).flatten();
        let (no_postgres, no_redis) = (
            wants_postgres && postgres.is_none(),
            wants_redis && redis.is_none(),
        );
        if no_postgres || no_redis {
            let searched = bin.map(Path::to_owned);
            return Err(MissingPrograms::new(no_postgres, no_redis, searched).into());
        }
        let made_by = servers.and_then(|servers| made_by(&servers.join("postgres/data")));
        if let (Some(programs), Some(made_by)) = (&postgres, made_by)
            && programs.major_version() != Some(made_by)
        {
            postgres = find_postgres_version(path, bin, made_by);
            if postgres.is_none() {
                return Err(DevstackError::Folder {
                    path: self.home.path().to_owned(),
                    reason: format!(
                        "its data was made by PostgreSQL {made_by}, which was not found"
                    ),
                });
            }
        }
        Ok((postgres, redis))
    }

    /// Records that everything answers, and the Tenant Manager's address (`http://…`), if any.
    pub fn announce(&self, server: Option<&str>) -> Result<(), DevstackError> {
        self.update(|state| {
            state.ready = true;
            state.server = server.map(str::to_owned);
        })
    }

    /// Stops the servers in good order and gives the data folder back.
    pub async fn stop(mut self) -> Result<(), DevstackError> {
        let postgres = self.postgres.take();
        let redis = self.redis.take();
        let (postgres, redis) = tokio::join!(
            async {
                match &postgres {
                    Some(server) => server.stop().await,
                    None => Ok(()),
                }
            },
            async {
                match &redis {
                    Some(server) => server.stop().await,
                    None => Ok(()),
                }
            },
        );
        postgres.and(redis)
        // The state is written when this is dropped.
    }

    /// Returns how the servers are reached, once they were started.
    pub fn connections(&self) -> Option<&Connections> {
        self.connections.as_ref()
    }

    /// Returns the development keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the data folder.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Returns what an earlier run recorded as the Tenant Manager's address, to be used again.
    pub fn previous_server(&self) -> Option<String> {
        self.with_state(|state| state.server.clone())
    }

    fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn update(&self, change: impl FnOnce(&mut State)) -> Result<(), DevstackError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.write(&self.home)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop((self.postgres.take(), self.redis.take()));
        // What is left in the file only informs: servers are recognised without it.
        let _ = self.update(State::end);
    }
}
