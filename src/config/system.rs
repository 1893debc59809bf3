//! Secrets from the world: variables, files, standard input and programs.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::keyring::{Keyring, KeyringError};
use super::problem::{Problem, shown};
use super::reference::{SecretReference, SecretSource};
use crate::secret::Secret;

/// Longest secret, and longest certificate file, in bytes.
const LIMIT: u64 = 64 * 1024;

/// Fetches secrets; each program runs once, standard input is read once.
pub struct SystemSecrets {
    variables: BTreeMap<String, String>,
    deadline: Duration,
    fetched: Mutex<HashMap<String, Secret>>,
}

impl SystemSecrets {
    /// Builds a source that looks into `variables` and gives a program at most `deadline`.
    pub fn new(variables: BTreeMap<String, String>, deadline: Duration) -> Self {
        Self {
            variables,
            deadline,
            fetched: Mutex::default(),
        }
    }

    /// Returns what was fetched under `name`, or fetches it. The lock is held meanwhile, so that
    /// two callers do not start the same program twice.
    fn once(
        &self,
        name: String,
        fetch: impl FnOnce() -> Result<Secret, Problem>,
    ) -> Result<Secret, Problem> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = fetched.get(&name) {
            return Ok(secret.clone());
        }
        let secret = fetch()?;
        fetched.insert(name, secret.clone());
        Ok(secret)
    }
}

impl SecretSource for SystemSecrets {
    fn reveal(&self, reference: &SecretReference) -> Result<Secret, Problem> {
        let failed = |reason: &str| {
            Problem::new(
                "config.secret",
                format!("the secret in {reference} cannot be used: {reason}"),
            )
        };
        let secret = match reference {
            SecretReference::Inline(secret) => secret.clone(),
            SecretReference::Environment(name) => match self.variables.get(name) {
                Some(text) => Secret::new(text.as_str()),
                None => return Err(failed("it is not set")),
            },
            SecretReference::File(path) => {
                let file = std::fs::File::open(path).map_err(|error| failed(&error.to_string()))?;
                limited(file).map_err(|reason| failed(&reason))?
            }
            SecretReference::Stdin => self.once("-".to_owned(), || {
                limited(std::io::stdin().lock()).map_err(|reason| failed(&reason))
            })?,
            SecretReference::Keyring(entry) => self.once(format!("keyring\0{entry}"), || {
                Keyring::new(&self.variables, self.deadline)
                    .get(entry)
                    .and_then(|found| found.ok_or(KeyringError::Absent))
                    .map_err(|error| {
                        failed(&error.to_string()).hint(format!(
                            "put it there: secret-tool store --label={0} application lerianctl name {0}",
                            shlex::try_quote(entry).unwrap_or_default()
                        ))
                    })
            })?,
            SecretReference::Command {
                refused: Some(reason),
                ..
            } => {
                return Err(failed(&format!(
                    "others could have written the config file that names it: {reason}"
                ))
                .hint("make the config file yours alone: chmod 600"));
            }
            SecretReference::Command { argv, .. } => self.once(argv.join("\0"), || {
                run(argv, &self.variables, self.deadline).map_err(|reason| {
                    failed(&reason).hint(format!(
                        "run it yourself to see why: {}",
                        shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_default()
                    ))
                })
            })?,
        };
        if secret.is_empty() {
            return Err(failed("it is empty"));
        }
        if secret.expose().contains(['\n', '\r', '\0']) {
            return Err(failed("it has more than one line"));
        }
        Ok(secret)
    }

    fn text(&self, path: &Path) -> Result<String, Problem> {
        std::fs::File::open(path)
            .map_err(|error| error.to_string())
            .and_then(limited)
            .map(|text| text.expose().to_owned())
            .map_err(|reason| {
                Problem::new(
                    "config.unreadable",
                    format!("{} cannot be read: {reason}", path.display()),
                )
            })
    }
}

/// Reads a secret; one trailing newline does not count.
pub(super) fn limited(source: impl Read) -> Result<Secret, String> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    source
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("it is longer than {LIMIT} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

/// Runs a program without a shell and returns its standard output.
///
/// Its standard error is dropped: nobody can promise that no secret is in it.
fn run(
    argv: &[String],
    variables: &BTreeMap<String, String>,
    deadline: Duration,
) -> Result<Secret, String> {
    let (program, arguments) = argv.split_first().ok_or("it names no program")?;
    let mut child = started_with(program, variables)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let stdout = child.stdout.take().ok_or("its output cannot be read")?;
    let (send, receive) = mpsc::channel();
    // The thread may outlive us when a grandchild keeps the pipe open; it holds nothing we need.
    std::thread::spawn(move || {
        let _ = send.send(limited(stdout));
    });
    let until = Instant::now() + deadline;
    let output = receive.recv_timeout(deadline);
    let status = output.is_ok().then(|| wait(&mut child, until)).flatten();
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!(
            "it did not finish within {} s",
            deadline.as_secs_f32()
        ));
    };
    // Output that is cut off makes most programs fail too: name the cause, not the effect.
    let secret = output.map_err(|error| error.to_string())??;
    if !status.success() {
        return Err(format!("it failed ({})", shown(&status.to_string())));
    }
    Ok(secret)
}

/// Returns a program to be started without our own variables.
pub(super) fn started_with(program: &str, variables: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(program);
    // Other secrets of ours are none of its business.
    for name in variables.keys() {
        if name.starts_with("LERIANCTL_") || name.starts_with("MULTI_TENANT_") {
            command.env_remove(name);
        }
    }
    command
}

/// Waits for the exit of a program that has closed its output.
pub(super) fn wait(
    child: &mut std::process::Child,
    until: Instant,
) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            _ => return None,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn source() -> SystemSecrets {
        let variables = [("KEY".to_owned(), "from variable".to_owned())];
        SystemSecrets::new(variables.into(), Duration::from_secs(20))
    }

    fn command(argv: &[&str]) -> SecretReference {
        SecretReference::Command {
            argv: argv.iter().map(|&text| text.to_owned()).collect(),
            refused: None,
        }
    }

    #[test]
    fn secrets_come_from_variables_files_and_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from file\n").unwrap();
        let source = source();
        for (reference, expected) in [
            (SecretReference::Environment("KEY".into()), "from variable"),
            (SecretReference::File(path), "from file"),
            (command(&["printf", "%s\\n", "$HOME; id"]), "$HOME; id"),
        ] {
            assert_eq!(source.reveal(&reference).unwrap().expose(), expected);
        }
    }

    #[test]
    fn a_program_runs_once() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let script = format!("echo x >> {}; echo secret", count.display());
        let reference = command(&["sh", "-c", &script]);
        let source = source();
        for _ in 0..3 {
            assert_eq!(source.reveal(&reference).unwrap().expose(), "secret");
        }
        assert_eq!(std::fs::read_to_string(count).unwrap(), "x\n");
    }

    #[test]
    fn whatever_goes_wrong_is_said_without_the_secret() {
        let source = SystemSecrets::new(BTreeMap::new(), Duration::from_millis(300));
        let mut refused = command(&["true"]);
        if let SecretReference::Command { refused, .. } = &mut refused {
            *refused = Some("its mode is 666".into());
        }
        for (reference, expected) in [
            (SecretReference::Environment("KEY".into()), "not set"),
            (
                SecretReference::File("/nonexistent/key".into()),
                "No such file",
            ),
            (
                command(&["sh", "-c", "echo hunter2; exit 3"]),
                "exit status: 3",
            ),
            (
                command(&["sh", "-c", "echo hunter2 >&2; sleep 60"]),
                "did not finish",
            ),
            (
                command(&["sh", "-c", "sleep 60 & echo hunter2"]),
                "did not finish",
            ),
            (
                command(&["sh", "-c", "echo hunter2; echo hunter2"]),
                "more than one line",
            ),
            (command(&["true"]), "empty"),
            (command(&["/nonexistent/program"]), "cannot be started"),
            (command(&["sh", "-c", "yes hunter2"]), "longer than"),
            (refused, "others could have written"),
        ] {
            let problem = source.reveal(&reference).unwrap_err();
            assert!(problem.message.contains(expected), "{problem}");
            assert!(!problem.message.contains("hunter2"), "{problem}");
        }
    }
}
