//! A private PostgreSQL.

mod making;

pub(crate) use making::made_by;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;
use tokio_postgres::error::SqlState;

use super::account::Account;
use super::guard::{Guard, GuardSettings};
use super::process::{self, ProcessId};
use super::programs::PostgresPrograms;
use super::{DevstackError, guard, port};
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;
use making::{configure, initialise};

/// Name of the administrator, as everywhere in PostgreSQL's documentation.
const SUPERUSER: &str = "postgres";

/// Recovery after a crash may have to replay much.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// Times that another port is tried when the chosen one was taken meanwhile.
const PORT_ATTEMPTS: u32 = 10;

/// What a server needs to run.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// The programs.
    pub programs: PostgresPrograms,
    /// Existing folder of ours for this server alone; `account` must be able to enter it.
    pub folder: PathBuf,
    /// Account to run under; [`Account::for_servers`] knows it.
    pub account: Option<Account>,
    /// Password of the administrator; only used when the data folder is made.
    pub password: Secret,
    /// Port to use when it is free.
    pub port: Option<u16>,
    /// Most connections at once.
    pub max_connections: u16,
    /// Whether data must survive a crash of the machine. Tests do without.
    pub durable: bool,
    /// File for the server's output.
    pub log: PathBuf,
}

/// A running PostgreSQL on loopback. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    guard: Guard,
    settings: PostgresSettings,
    port: u16,
}

/// Why one attempt to start failed.
enum Attempt {
    PortTaken,
    StillHeld,
    Final(DevstackError),
}

impl Postgres {
    /// Starts the server and returns when it answers; makes its data folder before when there is
    /// none, and takes over from an earlier run that ended badly.
    pub async fn start(settings: PostgresSettings) -> Result<Self, DevstackError> {
        let data = settings.folder.join("data");
        initialise(&settings, &data).await?;
        recover(&data).await?;
        let start = Instant::now();
        let mut wanted = settings.port;
        let mut ports_tried = 0;
        loop {
            let port = wanted
                .filter(|port| port::is_free(*port))
                .unwrap_or_else(port::pick);
            match attempt(&settings, &data, port).await {
                Ok(guard) => {
                    return Ok(Self {
                        guard,
                        settings,
                        port,
                    });
                }
                Err(Attempt::PortTaken) if ports_tried < PORT_ATTEMPTS => {
                    ports_tried += 1;
                    wanted = None;
                }
                Err(Attempt::StillHeld) if start.elapsed() < READY_LIMIT => {
                    recover(&data).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(Attempt::PortTaken) => {
                    return Err(failed("every port that was tried is in use"));
                }
                Err(Attempt::StillHeld) => {
                    return Err(failed("another server still holds its data folder"));
                }
                Err(Attempt::Final(error)) => return Err(error),
            }
        }
    }

    /// Starts the server again, after it ended, on the same port with the same data.
    ///
    /// Clients hold the port, so no other is taken: when it is in use, this fails.
    pub async fn restart(&mut self) -> Result<(), DevstackError> {
        let data = self.data();
        self.guard.stop(STOP).await;
        recover(&data).await?;
        let start = Instant::now();
        loop {
            match attempt(&self.settings, &data, self.port).await {
                Ok(guard) => {
                    self.guard = guard;
                    return Ok(());
                }
                Err(Attempt::StillHeld) if start.elapsed() < READY_LIMIT => {
                    recover(&data).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(Attempt::StillHeld) => {
                    return Err(failed("another server still holds its data folder"));
                }
                Err(Attempt::PortTaken) => {
                    return Err(failed(format!("port {} is in use now", self.port)));
                }
                Err(Attempt::Final(error)) => return Err(error),
            }
        }
    }

    /// Returns how the administrator reaches the server.
    pub fn endpoint(&self) -> PostgresEndpoint {
        endpoint(self.port, &self.settings.password)
    }

    /// Returns the port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's main process.
    pub fn process(&self) -> &ProcessId {
        self.guard.server()
    }

    /// Returns a receiver that changes when the server has ended.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.guard.watch()
    }

    /// Returns PostgreSQL's data folder.
    pub fn data(&self) -> PathBuf {
        self.settings.folder.join("data")
    }

    /// Stops the server: sessions are ended, data is written. It can be started again.
    pub async fn stop(&self) -> Result<(), DevstackError> {
        if self.guard.stop(STOP).await {
            Ok(())
        } else {
            Err(DevstackError::Deadline {
                server: "PostgreSQL",
                what: "did not stop",
                seconds: 40,
            })
        }
    }
}

/// Fast shutdown, then immediate shutdown, then force.
const STOP: &[(Signal, Duration)] = &[
    (Signal::INT, Duration::from_secs(25)),
    (Signal::QUIT, Duration::from_secs(10)),
    (Signal::KILL, Duration::from_secs(5)),
];

fn failed(reason: impl Into<String>) -> DevstackError {
    DevstackError::Failed {
        server: "PostgreSQL",
        reason: reason.into(),
    }
}

fn endpoint(port: u16, password: &Secret) -> PostgresEndpoint {
    PostgresEndpoint {
        host: "127.0.0.1".into(),
        port,
        database: "postgres".into(),
        user: SUPERUSER.into(),
        password: Some(password.clone()),
        sslmode: "disable".into(),
        ca_pem: None,
        search_path: None,
    }
}

/// Starts the server once and waits until it answers or ended.
async fn attempt(settings: &PostgresSettings, data: &Path, port: u16) -> Result<Guard, Attempt> {
    let configuration = configure(settings, port).map_err(Attempt::Final)?;
    let guard = Guard::start(&GuardSettings {
        program: settings.programs.postgres.clone(),
        arguments: vec![
            "-D".into(),
            data.display().to_string(),
            "-c".into(),
            format!("config_file={}", configuration.display()),
        ],
        folder: data.to_owned(),
        account: settings.account.clone(),
        log: settings.log.clone(),
        signals: if settings.durable {
            "INT QUIT KILL"
        } else {
            "QUIT KILL"
        },
    })
    .map_err(Attempt::Final)?;
    let start = Instant::now();
    loop {
        if guard.end().is_some() {
            let log = guard.output();
            return Err(if log.contains("Address already in use") {
                Attempt::PortTaken
            } else if log.contains("pre-existing shared memory block")
                || log.contains("lock file \"postmaster.pid\" already exists")
            {
                Attempt::StillHeld
            } else {
                Attempt::Final(failed(guard.last_words()))
            });
        }
        // Only the server itself says that it is ready, so no stranger on the port is asked.
        if is_ready(data, guard.server().pid) {
            match answers(&endpoint(port, &settings.password), data).await {
                Answer::Ours => return Ok(guard),
                Answer::Refused(reason) => return Err(Attempt::Final(failed(reason))),
                Answer::None => {}
            }
        }
        if start.elapsed() > READY_LIMIT {
            return Err(Attempt::Final(DevstackError::Deadline {
                server: "PostgreSQL",
                what: "did not become ready",
                seconds: READY_LIMIT.as_secs(),
            }));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns true when the lock file in `data` belongs to `pid` and says `ready`.
fn is_ready(data: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    lines.next() == Some(pid.to_string().as_str())
        && lines
            .nth(6)
            .is_some_and(|state| state.trim_end() == "ready")
}

/// What came of asking a server who it is.
enum Answer {
    /// It works on our data folder.
    Ours,
    /// It does not know our password.
    Refused(String),
    /// Nothing, or not yet.
    None,
}

/// Asks the server at `endpoint` whether it works on `data`.
async fn answers(endpoint: &PostgresEndpoint, data: &Path) -> Answer {
    let session = match endpoint.try_connect("").await {
        Ok(session) => session,
        Err(error) if error.sqlstate.as_deref() == Some(SqlState::INVALID_PASSWORD.code()) => {
            return Answer::Refused("its data folder was made with another password".into());
        }
        Err(_) => return Answer::None,
    };
    let query = async {
        let row = session.query_one("SHOW data_directory", &[]).await.ok()?;
        row.try_get::<_, String>(0).ok()
    };
    let folder = tokio::time::timeout(Duration::from_secs(10), query).await;
    session.close().await;
    match folder {
        Ok(Some(folder))
            if Path::new(&folder) == data
                || Path::new(&folder).canonicalize().ok() == data.canonicalize().ok() =>
        {
            Answer::Ours
        }
        _ => Answer::None,
    }
}

/// Stops what an earlier run left behind in `data`, and removes a lock that nobody holds.
pub(crate) async fn recover(data: &Path) -> Result<(), DevstackError> {
    let lock = data.join("postmaster.pid");
    let holder = fs::read_to_string(&lock)
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse::<u32>().ok());
    if !guard::stop_strays(&["postgres"], data, holder, Signal::INT).await {
        return Err(DevstackError::Deadline {
            server: "PostgreSQL of an earlier run",
            what: "did not stop",
            seconds: 35,
        });
    }
    // PostgreSQL removes a dead server's lock by itself, except when its number went to another
    // process. Only where processes can be recognised for certain it is safe to help.
    if cfg!(target_os = "linux")
        && let Some(holder) = holder
        && ProcessId::of(holder).is_some()
        && !process::works_in(holder, &["postgres"], data)
    {
        match fs::remove_file(&lock) {
            // The holder was just ending: it has given up its folder already, and taken its lock
            // away itself.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.map_err(DevstackError::io("cannot remove", &lock))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ready_state_of_the_right_process_counts() {
        let data = tempfile::tempdir().unwrap();
        let write = |state: &str| {
            let text = format!("42\n/data\n1700000000\n15000\n\n127.0.0.1\n  1 2\n{state}\n");
            fs::write(data.path().join("postmaster.pid"), text).unwrap();
        };
        assert!(!is_ready(data.path(), 42));
        write("starting");
        assert!(!is_ready(data.path(), 42));
        write("ready   ");
        assert!(is_ready(data.path(), 42));
        assert!(!is_ready(data.path(), 43));
    }

    #[tokio::test]
    async fn a_lock_whose_number_went_to_another_process_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let lock = data.path().join("postmaster.pid");
        fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
        recover(data.path()).await.unwrap();
        assert_eq!(lock.exists(), !cfg!(target_os = "linux"));
    }
}
