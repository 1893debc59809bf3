//! The keyring of the desktop: the freedesktop.org Secret Service (GNOME Keyring, KWallet,
//! KeePassXC), through `secret-tool`, the program that comes with libsecret.
//!
//! Secrets go through its standard input and output, never through its arguments.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::problem::shown;
use super::system::{limited, started_with, wait};
use crate::secret::Secret;

/// The program.
const PROGRAM: &str = "secret-tool";
/// Longest secret that it takes, in bytes; it cuts off what is longer.
const LONGEST: usize = 8 * 1024;
/// Longest message of it that is repeated.
const SAID: u64 = 400;

/// Why the keyring did not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The program is not there.
    #[error("`secret-tool` is not installed (package libsecret-tools, or libsecret)")]
    NoProgram,
    /// There is nothing of that name in it.
    #[error("the keyring has no such entry")]
    Absent,
    /// No keyring answered, or it refused.
    #[error("the keyring cannot be used: {0}")]
    Failed(String),
    /// Nobody unlocked it in time.
    #[error("the keyring did not answer within {} s; is it locked?", .0.as_secs())]
    Late(Duration),
    /// A secret that the program would cut off.
    #[error("a keyring takes secrets of up to {LONGEST} bytes, and this one is longer")]
    TooLong,
}

/// The keyring of whoever runs this.
#[derive(Debug)]
pub struct Keyring<'a> {
    variables: &'a BTreeMap<String, String>,
    deadline: Duration,
}

impl<'a> Keyring<'a> {
    /// Builds one for a process with these variables; an answer may take until `deadline`,
    /// because people may have to unlock it.
    pub fn new(variables: &'a BTreeMap<String, String>, deadline: Duration) -> Self {
        Self {
            variables,
            deadline,
        }
    }

    /// Returns what is kept under `entry`.
    pub fn get(&self, entry: &str) -> Result<Option<Secret>, KeyringError> {
        let arguments = ["lookup", "application", "lerianctl", "name", entry];
        self.run(&arguments, None)
    }

    /// Keeps a secret under `entry`, in place of what was there; `label` is for people.
    pub fn put(&self, entry: &str, label: &str, secret: &Secret) -> Result<(), KeyringError> {
        if secret.expose().len() > LONGEST {
            return Err(KeyringError::TooLong);
        }
        let label = format!("--label={label}");
        let arguments = ["store", &label, "application", "lerianctl", "name", entry];
        self.run(&arguments, Some(secret))?;
        // It has ended well after keeping nothing, or less: only what can be read is kept.
        if self.get(entry)?.as_ref() == Some(secret) {
            return Ok(());
        }
        Err(KeyringError::Failed("it did not keep the secret".into()))
    }

    /// Forgets what is kept under `entry`, if anything is.
    pub fn forget(&self, entry: &str) -> Result<(), KeyringError> {
        let arguments = ["clear", "application", "lerianctl", "name", entry];
        self.run(&arguments, None).map(drop)
    }

    /// Runs the program; nothing when it ends badly without a word, as it does where nothing is
    /// found.
    fn run(
        &self,
        arguments: &[&str],
        input: Option<&Secret>,
    ) -> Result<Option<Secret>, KeyringError> {
        let failed = |error: std::io::Error| KeyringError::Failed(error.to_string());
        let mut child = started_with(PROGRAM, self.variables)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => KeyringError::NoProgram,
                _ => failed(error),
            })?;
        let mut stdin = child.stdin.take();
        if let (Some(stdin), Some(secret)) = (&mut stdin, input) {
            // Shorter than what a pipe holds, so that nobody waits here; whether it was taken is
            // seen afterwards.
            let _ = stdin.write_all(secret.expose().as_bytes());
        }
        drop(stdin);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let output = stdout.map(limited);
            let mut said = Vec::new();
            let _ = stderr.map(|stderr| stderr.take(SAID).read_to_end(&mut said));
            let _ = send.send((output, String::from_utf8_lossy(&said).into_owned()));
        });
        let until = Instant::now() + self.deadline;
        let answer = receive.recv_timeout(self.deadline).ok();
        let Some(((output, said), status)) =
            answer.and_then(|answer| Some((answer, wait(&mut child, until)?)))
        else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(KeyringError::Late(self.deadline));
        };
        if !said.trim().is_empty() {
            let said = said.trim().trim_start_matches("secret-tool: ");
            return Err(KeyringError::Failed(shown(said)));
        }
        if !status.success() {
            return Ok(None);
        }
        output.transpose().map_err(KeyringError::Failed)
    }
}
