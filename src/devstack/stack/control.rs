//! Looking at, stopping and resetting a stack from another process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpStream;

use super::home::Lock;
use super::place::stop_strays_in;
use super::{Home, ServerState, State};
use crate::devstack::DevstackError;
use crate::devstack::process::ProcessId;

/// What is known about a stack from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The data folder.
    pub data: PathBuf,
    /// Whether a process runs the stack.
    pub running: bool,
    /// Whether that process said that everything answers.
    pub ready: bool,
    /// That process.
    pub supervisor: Option<u32>,
    /// Address of the Tenant Manager: the present one, or that of the last run.
    pub server: Option<String>,
    /// PostgreSQL; `None` when the stack never ran.
    pub postgres: Option<ServerStatus>,
    /// Redis; `None` when the stack never ran.
    pub redis: Option<ServerStatus>,
}

/// What is known about one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Whether it is a private one of this stack.
    pub managed: bool,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Its process, when a private one runs.
    pub pid: Option<u32>,
    /// Whether it runs and answers.
    pub health: Health,
}

/// Whether a server can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It accepts connections.
    Answers,
    /// It runs, or should, but does not accept connections.
    Silent,
    /// It does not run.
    Stopped,
}

/// What stopping a stack came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// It ran and was stopped.
    Stopped,
    /// It did not run, but servers that it had left behind did, and were stopped.
    Cleared,
    /// Nothing ran.
    NotRunning,
}

/// Returns what is known about the stack in `data`; `None` when there is none.
pub async fn status(data: &Path) -> Result<Option<Status>, DevstackError> {
    let Some(home) = Home::existing(data)? else {
        return Ok(None);
    };
    let running = home.lock()?.is_none();
    let state = State::read(&home)?;
    let supervisor = state.supervisor.filter(ProcessId::is_alive);
    Ok(Some(Status {
        data: home.path().to_owned(),
        running,
        ready: running && state.ready,
        supervisor: supervisor.filter(|_| running).map(|process| process.pid),
        server: state.server,
        postgres: server_status(state.postgres).await,
        redis: server_status(state.redis).await,
    }))
}

async fn server_status(server: Option<ServerState>) -> Option<ServerStatus> {
    let server = server?;
    let pid = server
        .process
        .filter(ProcessId::is_alive)
        .map(|process| process.pid);
    let health = if server.managed && pid.is_none() {
        Health::Stopped
    } else {
        let connect = TcpStream::connect((server.host.as_str(), server.port));
        match tokio::time::timeout(Duration::from_secs(3), connect).await {
            Ok(Ok(_)) => Health::Answers,
            _ => Health::Silent,
        }
    };
    Some(ServerStatus {
        managed: server.managed,
        host: server.host,
        port: server.port,
        pid,
        health,
    })
}

/// Stops the stack in `data`, whoever runs it, and returns when it has ended.
pub async fn down(data: &Path, limit: Duration) -> Result<Down, DevstackError> {
    let Some(home) = Home::existing(data)? else {
        return Ok(Down::NotRunning);
    };
    let (lock, stopped) = take(&home, limit).await?;
    let cleared = clear(&home).await?;
    let mut state = State::read(&home)?;
    state.end();
    state.write(&home)?;
    drop(lock);
    Ok(if stopped {
        Down::Stopped
    } else if cleared {
        Down::Cleared
    } else {
        Down::NotRunning
    })
}

/// Removes the stack in `data` with everything in it. Refuses while it runs. Returns false when
/// there was none.
pub async fn reset(data: &Path) -> Result<bool, DevstackError> {
    let Some(home) = Home::existing(data)? else {
        return Ok(false);
    };
    let lock = home.lock()?.ok_or_else(|| home.busy())?;
    clear(&home).await?;
    home.remove(lock)?;
    Ok(true)
}

/// Takes the folder, after asking the process that has it to end. Returns whether there was one.
async fn take(home: &Home, limit: Duration) -> Result<(Lock, bool), DevstackError> {
    let start = Instant::now();
    let mut asked: Option<ProcessId> = None;
    loop {
        if let Some(lock) = home.lock()? {
            return Ok((lock, asked.is_some()));
        }
        // Read again each time: a process that only just took the folder has not said so yet.
        let supervisor = State::read(home)?.supervisor;
        if let Some(supervisor) = supervisor.filter(|process| asked.as_ref() != Some(process))
            && supervisor.signal(Signal::TERM)
        {
            asked = Some(supervisor);
        }
        if start.elapsed() > limit {
            return Err(home.busy());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stops the servers that a killed run left behind. Returns whether there were some.
async fn clear(home: &Home) -> Result<bool, DevstackError> {
    match home.known_servers()? {
        Some(servers) => stop_strays_in(&servers).await,
        None => Ok(false),
    }
}
