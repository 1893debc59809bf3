//! A private Redis, or Valkey.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;

use super::account::Account;
use super::guard::{Guard, GuardSettings};
use super::process::ProcessId;
use super::programs::REDIS_NAMES;
use super::{DevstackError, folder, guard, port};
use crate::link::redis::RedisEndpoint;
use crate::secret::Secret;

/// Loading a large file takes a while.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// Times that another port is tried when the chosen one was taken meanwhile.
const PORT_ATTEMPTS: u32 = 10;

/// Distance between a cluster node's port and the port of its cluster bus.
pub(super) const BUS_DISTANCE: u16 = 10_000;

/// What a server needs to run.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis-server` or `valkey-server`.
    pub program: PathBuf,
    /// Existing folder of ours for this server alone; `account` must be able to enter it.
    pub folder: PathBuf,
    /// Account to run under; [`Account::for_servers`] knows it.
    pub account: Option<Account>,
    /// Password of the default user.
    pub password: Secret,
    /// Port to use when it is free.
    pub port: Option<u16>,
    /// Whether data is kept across restarts, in an append-only file. Tests do without.
    pub persistent: bool,
    /// Whether the server is a node of a cluster.
    pub cluster: bool,
    /// Further lines of its settings file, as Redis reads them, for example an ACL user.
    pub directives: Vec<String>,
    /// File for the server's output.
    pub log: PathBuf,
}

/// A running Redis on loopback. Dropping it stops it.
#[derive(Debug)]
pub struct Redis {
    guard: Guard,
    settings: RedisSettings,
    port: u16,
}

/// Why one attempt to start failed.
enum Attempt {
    PortTaken,
    Final(DevstackError),
}

impl RedisSettings {
    /// The server's working folder.
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

impl Redis {
    /// Starts the server and returns when it answers; takes over from an earlier run that ended
    /// badly.
    pub async fn start(settings: RedisSettings) -> Result<Self, DevstackError> {
        folder::ensure(&settings.data(), 0o700, settings.account.as_ref())?;
        recover(&settings.data()).await?;
        let mut wanted = settings.port;
        for _ in 0..PORT_ATTEMPTS {
            let accept =
                |port: u16| !settings.cluster || port::is_free(port.saturating_add(BUS_DISTANCE));
            let port = wanted
                .filter(|port| port::is_free(*port) && accept(*port))
                .unwrap_or_else(|| port::pick_where(accept));
            match attempt(&settings, port).await {
                Ok(guard) => {
                    return Ok(Self {
                        guard,
                        settings,
                        port,
                    });
                }
                Err(Attempt::PortTaken) => wanted = None,
                Err(Attempt::Final(error)) => return Err(error),
            }
        }
        Err(failed("every port that was tried is in use"))
    }

    /// Starts the server again, after it ended, on the same port with the same data.
    ///
    /// Clients hold the port, so no other is taken: when it is in use, this fails.
    pub async fn restart(&mut self) -> Result<(), DevstackError> {
        self.guard.stop(STOP).await;
        recover(&self.settings.data()).await?;
        match attempt(&self.settings, self.port).await {
            Ok(guard) => {
                self.guard = guard;
                Ok(())
            }
            Err(Attempt::PortTaken) => Err(failed(format!("port {} is in use now", self.port))),
            Err(Attempt::Final(error)) => Err(error),
        }
    }

    /// Returns how the server is reached.
    pub fn endpoint(&self) -> RedisEndpoint {
        endpoint(self.port, &self.settings.password)
    }

    /// Returns the port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's process.
    pub fn process(&self) -> &ProcessId {
        self.guard.server()
    }

    /// Returns a receiver that changes when the server has ended.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.guard.watch()
    }

    /// Stops the server; persistent data is on the disk then. It can be started again.
    pub async fn stop(&self) -> Result<(), DevstackError> {
        if self.guard.stop(STOP).await {
            Ok(())
        } else {
            Err(DevstackError::Deadline {
                server: "Redis",
                what: "did not stop",
                seconds: 30,
            })
        }
    }
}

/// Gentle, then force.
const STOP: &[(Signal, Duration)] = &[
    (Signal::TERM, Duration::from_secs(25)),
    (Signal::KILL, Duration::from_secs(5)),
];

fn failed(reason: impl Into<String>) -> DevstackError {
    DevstackError::Failed {
        server: "Redis",
        reason: reason.into(),
    }
}

pub(super) fn endpoint(port: u16, password: &Secret) -> RedisEndpoint {
    RedisEndpoint {
        host: "127.0.0.1".into(),
        port,
        username: None,
        password: Some(password.clone()),
        tls: false,
        ca_pem: None,
        database: 0,
    }
}

/// The server's settings file; a value is quoted at this one place.
fn configuration(settings: &RedisSettings, port: u16) -> String {
    let folder = settings.data().display().to_string();
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let mut values = vec![
        ("bind", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("protected-mode", "yes".into()),
        ("requirepass", settings.password.expose().to_owned()),
        ("dir", folder.clone()),
        ("pidfile", format!("{folder}/redis.pid")),
        ("daemonize", "no".into()),
        ("logfile", String::new()),
        ("databases", "16".into()),
        ("save", String::new()),
        ("appendonly", yes_no(settings.persistent)),
    ];
    if settings.cluster {
        values.extend([
            ("cluster-enabled", "yes".to_owned()),
            ("cluster-config-file", "nodes.conf".into()),
            ("cluster-node-timeout", "15000".into()),
            ("masterauth", settings.password.expose().to_owned()),
        ]);
    }
    let mut text = "# Written by lerianctl at each start.\n".to_owned();
    for (name, value) in values {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let value = value.replace('\n', "\\n");
        let _ = writeln!(text, "{name} \"{value}\"");
    }
    for directive in &settings.directives {
        text += directive;
        text += "\n";
    }
    // The log must say when the server is ready.
    text += "loglevel notice\n";
    text
}

/// Starts the server once and waits until it answers or ended.
async fn attempt(settings: &RedisSettings, port: u16) -> Result<Guard, Attempt> {
    let file = settings.folder.join("redis.conf");
    let text = configuration(settings, port);
    folder::write_private(&file, text.as_bytes(), settings.account.as_ref())
        .map_err(Attempt::Final)?;
    let guard = Guard::start(&GuardSettings {
        program: settings.program.clone(),
        arguments: vec![file.display().to_string()],
        folder: settings.data(),
        account: settings.account.clone(),
        log: settings.log.clone(),
        signals: if settings.persistent {
            "TERM KILL"
        } else {
            "KILL"
        },
    })
    .map_err(Attempt::Final)?;
    let start = Instant::now();
    loop {
        if guard.end().is_some() {
            return Err(if guard.output().contains("Address already in use") {
                Attempt::PortTaken
            } else {
                Attempt::Final(failed(guard.last_words()))
            });
        }
        // Only the server itself says that it listens, so no stranger on the port is asked.
        if guard.output().contains("Ready to accept connections")
            && answers(port, &settings.password, guard.server().pid).await
        {
            return Ok(guard);
        }
        if start.elapsed() > READY_LIMIT {
            return Err(Attempt::Final(DevstackError::Deadline {
                server: "Redis",
                what: "did not become ready",
                seconds: READY_LIMIT.as_secs(),
            }));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns true when the server on `port` lets us in, is process `pid` and has loaded its data.
async fn answers(port: u16, password: &Secret, pid: u32) -> bool {
    let query = async {
        let mut session = endpoint(port, password).connect().await.ok()?;
        let info: String = session.query(redis::cmd("INFO").arg("server")).await.ok()?;
        if info_value(&info, "process_id")?.parse() != Ok(pid) {
            return None;
        }
        session.query::<String>(&redis::cmd("PING")).await.ok()
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), query).await;
    matches!(answer, Ok(Some(_)))
}

/// Returns the value of `key` in the text that INFO answers.
pub(super) fn info_value<'a>(info: &'a str, key: &str) -> Option<&'a str> {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// Stops what an earlier run left behind in `data`.
pub(crate) async fn recover(data: &Path) -> Result<(), DevstackError> {
    let holder = fs::read_to_string(data.join("redis.pid"))
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    if guard::stop_strays(&REDIS_NAMES, data, holder, Signal::TERM).await {
        return Ok(());
    }
    Err(DevstackError::Deadline {
        server: "Redis of an earlier run",
        what: "did not stop",
        seconds: 35,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_redis_reads_them() {
        let settings = RedisSettings {
            program: "redis-server".into(),
            folder: "/home/a \"b\" \\c".into(),
            account: None,
            password: Secret::new("p w"),
            port: None,
            persistent: true,
            cluster: false,
            directives: vec!["user reader on nopass".into()],
            log: "log".into(),
        };
        let text = configuration(&settings, 15_000);
        assert!(
            text.contains("\ndir \"/home/a \\\"b\\\" \\\\c/data\"\n"),
            "{text}"
        );
        assert!(text.contains("\nrequirepass \"p w\"\n"));
        assert!(text.contains("\nappendonly \"yes\"\n"));
        assert!(text.contains("\nuser reader on nopass\n"));
        assert!(!text.contains("cluster-enabled"));
    }

    #[test]
    fn info_is_read_line_by_line() {
        let info = "# Server\r\nredis_version:7.0.15\r\nprocess_id:42\r\n";
        assert_eq!(info_value(info, "process_id"), Some("42"));
        assert_eq!(info_value(info, "process"), None);
    }
}
