//! Where the master key comes from: a file, a variable or a command.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::variables::{SERVER_MASTER_KEY, SERVER_PREVIOUS_MASTER_KEY};
use crate::config::{SecretReference, SecretSource as _};
use crate::secret::Secret;
use crate::server::{LocalKey, MasterKey};

/// Master keys are random; anything shorter than this cannot be.
const MASTER_KEY_LENGTH: usize = 32;

/// Flags of every command that opens a registry.
#[derive(Debug, Args)]
pub struct MasterKeyArgs {
    /// File with the master key that wraps the registry's keys
    /// [variable: LERIANCTL_SERVER_MASTER_KEY]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,

    /// Program, with arguments, that prints the master key; started without a shell
    #[arg(long, value_name = "COMMAND", conflicts_with = "master_key_file")]
    master_key_command: Option<String>,

    /// File with the master key before this one, while it is being changed
    /// [variable: LERIANCTL_SERVER_PREVIOUS_MASTER_KEY]
    #[arg(long, value_name = "FILE")]
    previous_master_key_file: Option<PathBuf>,

    /// Program, with arguments, that prints the master key before this one
    #[arg(
        long,
        value_name = "COMMAND",
        conflicts_with = "previous_master_key_file"
    )]
    previous_master_key_command: Option<String>,
}

impl MasterKeyArgs {
    /// Returns the master key.
    pub fn current(&self, run: &Invocation) -> Result<MasterKey, Failure> {
        let key = find(
            run,
            self.master_key_file.as_ref(),
            self.master_key_command.as_deref(),
            SERVER_MASTER_KEY,
            "the master key",
        )?;
        let key = key.ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                "server.no_master_key",
                "there is no master key, so credentials could not be sealed in the registry",
            )
            .hint_command(
                "make one, keep it safe",
                "openssl rand -hex 32 > master.key",
            )
            .hint(format!(
                "then give it with `--master-key-file FILE`, `--master-key-command COMMAND` or {SERVER_MASTER_KEY}"
            ))
        })?;
        checked(key, "the master key")
    }

    /// Returns the master key before this one, if it was given.
    pub fn previous(&self, run: &Invocation) -> Result<Option<MasterKey>, Failure> {
        find(
            run,
            self.previous_master_key_file.as_ref(),
            self.previous_master_key_command.as_deref(),
            SERVER_PREVIOUS_MASTER_KEY,
            "the previous master key",
        )?
        .map(|key| checked(key, "the previous master key"))
        .transpose()
    }
}

fn find(
    run: &Invocation,
    file: Option<&PathBuf>,
    command: Option<&str>,
    variable: &str,
    what: &str,
) -> Result<Option<Secret>, Failure> {
    if let Some(path) = file {
        return run.read_secret(path, what).map(Some);
    }
    if let Some(command) = command {
        let argv = shlex::split(command)
            .filter(|argv| !argv.is_empty())
            .ok_or_else(|| {
                Failure::new(
                    Kind::Usage,
                    "usage",
                    format!("the command for {what} cannot be split into words"),
                )
            })?;
        let reference = SecretReference::Command {
            argv,
            refused: None,
        };
        return Ok(Some(run.secrets().reveal(&reference)?));
    }
    Ok(run.environment.variable(variable).map(Secret::new))
}

fn checked(key: Secret, what: &str) -> Result<MasterKey, Failure> {
    let length = key.expose().len();
    if length < MASTER_KEY_LENGTH {
        return Err(Failure::new(
            Kind::Usage,
            "server.weak_key",
            format!(
                "{what} has {length} characters; a random one has at least {MASTER_KEY_LENGTH}"
            ),
        )
        .hint_command("make one", "openssl rand -hex 32 > master.key"));
    }
    Ok(MasterKey::new(LocalKey::new(key)))
}
