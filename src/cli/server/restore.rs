//! `lerianctl server restore`.

use std::path::PathBuf;

use clap::Args;

use super::archive::{self, ArchiveReport};
use super::place::RegistryArgs;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;

/// Make a registry from a backup
///
/// The file is checked from its begin to its end first. Only an empty registry is filled, all of
/// it or nothing, and every table is read back and compared before it counts. Servers need the
/// master key that the registry had when the backup was made.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl server restore --dry-run registry.backup\n  lerianctl server restore --registry registry.db registry.backup"
)]
pub struct RestoreArgs {
    /// File that `server backup` made
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    registry: RegistryArgs,

    /// Check the file and the registry, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Restores a backup.
pub fn restore(run: &Invocation, args: &RestoreArgs) -> Result<ArchiveReport, Failure> {
    let place = args.registry.place(run)?;
    archive::read(run, "restore", &place, &args.file, args.dry_run)
}
