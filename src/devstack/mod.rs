//! Private PostgreSQL and Redis for `lerianctl dev` and for the tests.
//!
//! [`stack::Stack`] is what `lerianctl dev` runs: both servers under one data folder, with a lock,
//! a state file and the development keys. [`postgres::Postgres`], [`redis::Redis`] and
//! [`redis_cluster::RedisCluster`] are the single servers, which the tests also use directly.
//!
//! What holds for every server here:
//! - It listens on loopback only and wants a generated password.
//! - It runs behind a [`guard`], which stops it when the process that started it is gone, however
//!   that one ended. What survives even that is recognised and stopped by the next start.
//! - Root never runs it: as root it runs under an unprivileged [`account::Account`].
//! - Nothing is signalled that was not recognised first ([`process::ProcessId`]).

pub mod account;
pub mod folder;
pub mod guard;
pub mod port;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod redis;
pub mod redis_cluster;
pub mod sample;
pub mod stack;
pub mod temporary;

use std::io;
use std::path::{Path, PathBuf};

pub use programs::{MissingPrograms, Programs};

/// Why a development server or its folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevstackError {
    /// A program is not installed.
    #[error(transparent)]
    Missing(#[from] MissingPrograms),
    /// A folder is not ours, or cannot be used as it is.
    #[error("the folder `{}` cannot be used: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process runs on the same data folder.
    #[error("the data folder `{}` is in use{}", data.display(), supervisor.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Busy {
        /// The data folder.
        data: PathBuf,
        /// The process that runs there, when it is known.
        supervisor: Option<u32>,
    },
    /// No account that the servers could run under.
    #[error("PostgreSQL refuses to run as root, and no unprivileged account was found: {reason}")]
    NoAccount {
        /// What was looked at.
        reason: String,
    },
    /// A server ended instead of becoming ready.
    #[error("{server} did not start: {reason}")]
    Failed {
        /// Which server.
        server: &'static str,
        /// What it wrote to its log at the end, or what else is known.
        reason: String,
    },
    /// A server did not become ready, or did not stop, within its time.
    #[error("{server} {what} within {seconds} s")]
    Deadline {
        /// Which server.
        server: &'static str,
        /// What did not happen.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// An existing server that was asked for is not usable.
    #[error(transparent)]
    Link(#[from] crate::link::LinkError),
    /// A file could not be read or written.
    #[error("{what} `{}`: {source}", path.display())]
    Io {
        /// What was tried, for example "cannot write".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DevstackError {
    /// Returns a closure that wraps an I/O error on `path`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
