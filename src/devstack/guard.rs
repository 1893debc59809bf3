//! A server that ends when we do, however we end.
//!
//! The server runs under a small shell script that holds the reading end of a pipe. When this
//! process ends, killed or not, the system closes the writing end and the script stops the server.
//! The script also waits for the server, so the server's number cannot go to another process
//! while the script might signal it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;

use super::DevstackError;
use super::account::Account;
use super::process::ProcessId;

/// `$1`: signals to stop the server with, each tried for 15 s; the rest: the server's command
/// line. Says the server's number on stdout.
const SCRIPT: &str = r#"
signals=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- >&2 &
server=$!
# Whoever started us may be gone already, and nobody read that line.
trap '' PIPE
echo "$server"
exec >&2
(
    read -r line <&3
    for signal in $signals; do
        # Without the script above nobody keeps the number from being used again.
        kill -0 $$ && kill -s "$signal" "$server" || exit 0
        tries=15
        while [ "$tries" -gt 0 ]; do sleep 1; kill -0 $$ || exit 0; tries=$((tries - 1)); done
    done
) 2>/dev/null &
watcher=$!
exec 3<&-
trap '' HUP INT TERM
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// PATH of the servers and of the script: the system's own folders.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run and how.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// The server's program.
    pub program: PathBuf,
    /// Its arguments; no secrets, since every user can read them.
    pub arguments: Vec<String>,
    /// Its working folder, by which it is recognised later.
    pub folder: PathBuf,
    /// Account to run under, when we are root.
    pub account: Option<Account>,
    /// File that its output is appended to.
    pub log: PathBuf,
    /// Signals to stop it with when we are gone, in this order, for example `INT QUIT KILL`.
    pub signals: &'static str,
}

/// A running server with its guard. Dropping it stops the server and waits for its end.
#[derive(Debug)]
pub struct Guard {
    server: ProcessId,
    script: Option<ProcessId>,
    lifeline: Option<ChildStdin>,
    ended: watch::Receiver<Option<String>>,
    log: PathBuf,
    log_start: u64,
}

impl Guard {
    /// Starts the server. It may still end at once: see [`Guard::end`].
    pub fn start(settings: &GuardSettings) -> Result<Self, DevstackError> {
        let failed = || DevstackError::io("cannot run", &settings.program);
        let log = open_log(&settings.log)?;
        let log_start = log.metadata().map_err(failed())?.len();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "lerianctl-guard", settings.signals])
            .arg(&settings.program)
            .args(&settings.arguments)
            .current_dir(&settings.folder)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            // Keys in a terminal are for us, not for the servers.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        if let Some(account) = &settings.account {
            account.apply(&mut command);
        }
        let mut child = command.spawn().map_err(failed())?;
        let lifeline = child.stdin.take();
        let script = ProcessId::of(child.id());
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(failed())?;
        }
        let (sender, ended) = watch::channel(None);
        std::thread::Builder::new()
            .name("lerianctl-guard".into())
            .spawn(move || {
                let text = match child.wait() {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                sender.send_replace(Some(text));
            })
            .map_err(failed())?;
        // A server that has ended already has no identity any more; `end` tells.
        let pid = line.trim().parse().unwrap_or(0);
        let server = ProcessId::of(pid).unwrap_or(ProcessId {
            pid,
            started: String::new(),
        });
        Ok(Self {
            server,
            script,
            lifeline,
            ended,
            log: settings.log.clone(),
            log_start,
        })
    }

    /// Returns the server's process.
    pub fn server(&self) -> &ProcessId {
        &self.server
    }

    /// Returns how the server ended; `None` while it runs.
    pub fn end(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Returns a receiver that changes when the server, or its guard, has ended.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.ended.clone()
    }

    /// Returns what the server wrote to its log since it was started, at most the first MiB.
    pub fn output(&self) -> String {
        let read = || {
            let mut file = File::open(&self.log)?;
            file.seek(SeekFrom::Start(self.log_start))?;
            let mut bytes = Vec::new();
            file.take(1024 * 1024).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// Returns why the server ended: the last lines of its log, or else how it ended.
    pub fn last_words(&self) -> String {
        const LINES: usize = 12;
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        match lines.as_slice() {
            [] => self.end().unwrap_or_default(),
            lines => lines[lines.len().saturating_sub(LINES)..].join("\n"),
        }
    }

    /// Sends `signal` to the server; false when it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        self.server.signal(signal)
    }

    /// Waits until the server has ended; false when `limit` passed before.
    pub async fn wait(&self, limit: Duration) -> bool {
        let mut ended = self.ended.clone();
        let over = async {
            // The sender only goes away after it has told.
            let _ = ended.wait_for(Option::is_some).await;
        };
        if tokio::time::timeout(limit, over).await.is_err() {
            return false;
        }
        // When the guard itself was killed, the server may have outlived it.
        let start = Instant::now();
        while self.server.is_alive() {
            if start.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }

    /// Stops the server with each of `signals` in turn until it has ended.
    pub async fn stop(&self, signals: &[(Signal, Duration)]) -> bool {
        for (signal, limit) in signals {
            self.signal(*signal);
            if self.wait(*limit).await {
                return true;
            }
        }
        false
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // A guard that was killed cannot stop its server any more.
        if self.script.as_ref().is_none_or(|script| !script.is_alive()) {
            self.server.signal(Signal::KILL);
            return;
        }
        let start = Instant::now();
        while self.end().is_none() && start.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Opens a log for appending, private to us; one that has grown large is put aside first.
fn open_log(path: &Path) -> Result<File, DevstackError> {
    const LIMIT: u64 = 16 * 1024 * 1024;
    let failed = || DevstackError::io("cannot open the log", path);
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LIMIT) {
        std::fs::rename(path, path.with_extension("log.1")).map_err(failed())?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(failed())
}

/// Stops the servers that an earlier run of ours left behind in `folder`.
///
/// They are recognised by their program and working folder. `leader` is the process that takes
/// the others with it when it is told to with `gentle`; when it is gone, the others normally end
/// by themselves. Returns false when something still runs.
pub(crate) async fn stop_strays(
    programs: &[&str],
    folder: &Path,
    leader: Option<u32>,
    gentle: Signal,
) -> bool {
    let strays = || super::process::all_in(programs, folder);
    let leader = leader
        .filter(|pid| super::process::works_in(*pid, programs, folder))
        .and_then(ProcessId::of);
    let steps = if leader.is_some() {
        [
            (Some(gentle), 20),
            (Some(Signal::QUIT), 5),
            (Some(Signal::KILL), 10),
        ]
    } else {
        [
            (None, 3),
            (Some(Signal::TERM), 20),
            (Some(Signal::KILL), 10),
        ]
    };
    for (signal, limit) in steps {
        match (signal, &leader) {
            (Some(signal), Some(leader)) if leader.is_alive() => {
                leader.signal(signal);
            }
            (Some(signal @ (Signal::TERM | Signal::KILL)), _) => {
                for process in strays() {
                    process.signal(signal);
                }
            }
            _ => {}
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(limit) {
            if strays().is_empty() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path, script: &str) -> GuardSettings {
        GuardSettings {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            folder: folder.into(),
            account: None,
            log: folder.join("log"),
            signals: "TERM KILL",
        }
    }

    #[test]
    fn dropping_the_guard_stops_the_server() {
        let home = tempfile::tempdir().unwrap();
        let guard = Guard::start(&settings(home.path(), "exec sleep 600")).unwrap();
        let server = guard.server().clone();
        assert!(server.is_alive());
        assert_eq!(guard.end(), None);
        drop(guard);
        assert!(!server.is_alive());
    }

    #[test]
    fn a_server_whose_starter_is_killed_at_once_does_not_outlive_it() {
        let home = tempfile::tempdir().unwrap();
        let mut script = Command::new("/bin/sh")
            .args([
                "-c",
                SCRIPT,
                "lerianctl-guard",
                "TERM KILL",
                "/bin/sh",
                "-c",
            ])
            .arg("echo $$ >pid; exec sleep 600")
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Before the script says the number of its server: nobody reads it any more.
        drop(script.stdout.take());
        let start = Instant::now();
        let server = loop {
            let text = std::fs::read_to_string(home.path().join("pid")).unwrap_or_default();
            if let Ok(pid) = text.trim().parse() {
                break ProcessId::of(pid).unwrap();
            }
            assert!(start.elapsed() < Duration::from_mins(1), "it never ran");
            std::thread::sleep(Duration::from_millis(5));
        };
        drop(script.stdin.take());
        while server.is_alive() {
            assert!(start.elapsed() < Duration::from_mins(2), "it was left");
            std::thread::sleep(Duration::from_millis(5));
        }
        script.wait().unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_server_is_told() {
        let home = tempfile::tempdir().unwrap();
        let guard = Guard::start(&settings(home.path(), "echo bye; exit 7")).unwrap();
        assert!(guard.wait(Duration::from_mins(1)).await);
        assert_eq!(guard.end().unwrap(), "exit status: 7");
        assert_eq!(guard.last_words(), "bye");
    }

    #[tokio::test]
    async fn only_the_output_of_this_start_counts_also_in_a_new_log() {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        for old in ["old\n".to_owned(), "old\n".repeat(5_000_000)] {
            std::fs::write(&log, &old).unwrap();
            let guard = Guard::start(&settings(home.path(), "echo new; exit 1")).unwrap();
            assert!(guard.wait(Duration::from_mins(1)).await);
            assert_eq!(guard.output(), "new\n");
        }
        let guard = Guard::start(&settings(home.path(), "exit 3")).unwrap();
        assert!(guard.wait(Duration::from_mins(1)).await);
        assert_eq!(guard.last_words(), "exit status: 3");
    }

    #[tokio::test]
    async fn a_server_that_outlives_its_guard_is_stopped_too() {
        let home = tempfile::tempdir().unwrap();
        let guard = Guard::start(&settings(home.path(), "exec sleep 600")).unwrap();
        let server = guard.server().clone();
        guard.script.as_ref().unwrap().signal(Signal::KILL);
        let mut ended = guard.watch();
        ended.wait_for(Option::is_some).await.unwrap();
        assert!(server.is_alive());
        drop(guard);
        let start = Instant::now();
        while server.is_alive() && start.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!server.is_alive());
    }
}
