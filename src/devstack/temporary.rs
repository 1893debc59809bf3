//! Servers for tests and benches: fast, without durability, and gone with their process.

use std::fs::Permissions;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::account::Account;
use super::postgres::{Postgres, PostgresSettings};
use super::programs::PostgresPrograms;
use super::redis::{Redis, RedisSettings};
use super::redis_cluster::RedisCluster;
use super::{DevstackError, folder};
use crate::secret::Secret;

/// Removes the folder `$1` when stdin closes. A server that is being stopped may still write.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r line
tries=60
while rm -rf -- "$1"; [ -e "$1" ] && [ "$tries" -gt 0 ]; do sleep 1; tries=$((tries - 1)); done
"#;

/// A new private folder that is removed when this is dropped or its process ends, killed or not.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    remover: Child,
}

impl TemporaryFolder {
    /// Makes a folder in `parent` that is private, except that `account` can pass through.
    pub fn new(parent: &Path, account: Option<&Account>) -> Result<Self, DevstackError> {
        let failed = || DevstackError::io("cannot make a folder in", parent);
        let folder = tempfile::Builder::new()
            .prefix("lerianctl-")
            .permissions(Permissions::from_mode(folder::mode_for(account)))
            .tempdir_in(parent)
            .map_err(failed())?;
        // The umask may have taken bits that were asked for.
        folder::set_mode(folder.path(), folder::mode_for(account))?;
        let remover = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "lerianctl-remover"])
            .arg(folder.path())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed())?;
        Ok(Self {
            path: folder.keep(),
            remover,
        })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        drop(self.remover.stdin.take());
        // It ends by itself; waiting only keeps the folder's end in order.
        let _ = self.remover.wait();
    }
}

/// A server, or a cluster of them, in a temporary folder.
#[derive(Debug)]
pub struct Temporary<S> {
    // Dropped in this order: the server ends before its folder goes.
    server: S,
    folder: TemporaryFolder,
}

impl<S> Temporary<S> {
    /// Returns the folder that goes with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl<S> Deref for Temporary<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.server
    }
}

impl<S> DerefMut for Temporary<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.server
    }
}

/// Starts a PostgreSQL without durability in a new folder in `parent`, normally the system's
/// folder for temporary files.
pub async fn postgres(
    programs: &PostgresPrograms,
    parent: &Path,
) -> Result<Temporary<Postgres>, DevstackError> {
    let account = Account::for_servers()?;
    let folder = TemporaryFolder::new(parent, account.as_ref())?;
    let server = Postgres::start(PostgresSettings {
        programs: programs.clone(),
        folder: folder.path().to_owned(),
        account,
        password: Secret::generate(),
        port: None,
        max_connections: 300,
        durable: false,
        log: folder.path().join("postgres.log"),
    });
    Ok(Temporary {
        server: server.await?,
        folder,
    })
}

/// Starts a Redis without persistence in a new folder in `parent`.
pub async fn redis(program: &Path, parent: &Path) -> Result<Temporary<Redis>, DevstackError> {
    redis_with(program, parent, &[]).await
}

/// As [`redis()`], with `directives` added to the settings file, one a line.
pub async fn redis_with(
    program: &Path,
    parent: &Path,
    directives: &[String],
) -> Result<Temporary<Redis>, DevstackError> {
    let (mut settings, folder) = redis_settings(program, parent)?;
    settings.directives = directives.to_vec();
    Ok(Temporary {
        server: Redis::start(settings).await?,
        folder,
    })
}

/// Starts a Redis Cluster of `primaries` nodes (at least three) without persistence in a new
/// folder in `parent`.
pub async fn redis_cluster(
    program: &Path,
    parent: &Path,
    primaries: usize,
) -> Result<Temporary<RedisCluster>, DevstackError> {
    let (settings, folder) = redis_settings(program, parent)?;
    Ok(Temporary {
        server: RedisCluster::start(&settings, primaries).await?,
        folder,
    })
}

fn redis_settings(
    program: &Path,
    parent: &Path,
) -> Result<(RedisSettings, TemporaryFolder), DevstackError> {
    let account = Account::for_servers()?;
    let folder = TemporaryFolder::new(parent, account.as_ref())?;
    let settings = RedisSettings {
        program: program.to_owned(),
        folder: folder.path().to_owned(),
        account,
        password: Secret::generate(),
        port: None,
        persistent: false,
        cluster: false,
        directives: Vec::new(),
        log: folder.path().join("redis.log"),
    };
    Ok((settings, folder))
}
