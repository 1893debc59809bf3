//! `lerianctl server backup`.

use std::path::PathBuf;

use clap::Args;

use super::archive::{self, ArchiveReport};
use super::place::RegistryArgs;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;

/// Write the registry, as it is at this moment, to a new file
///
/// Servers go on meanwhile. The file is private to you; credentials in it stay sealed, and only
/// the master key, which is not in it, opens them. An existing file is not overwritten.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl server backup registry-2026-11-24.backup\n  lerianctl server backup --registry-url-file registry.url registry.backup"
)]
pub struct BackupArgs {
    /// File to make
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Writes a backup.
pub fn backup(run: &Invocation, args: &BackupArgs) -> Result<ArchiveReport, Failure> {
    let place = args.registry.place(run)?;
    archive::write(run, "backup", &place, &args.file, false)
}
