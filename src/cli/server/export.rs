//! `lerianctl server export`.

use std::path::PathBuf;

use clap::Args;

use super::archive::{self, ArchiveReport};
use super::place::RegistryArgs;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;

/// Write a registry that no server works on to a file, to move it elsewhere
///
/// As `server backup`, and refused while a server works on the registry: what it would still
/// change would be lost. Start no server on the old registry afterwards.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl server export --registry registry.db registry.export\n  lerianctl server import --registry-url-file registry.url registry.export"
)]
pub struct ExportArgs {
    /// File to make
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Writes an export.
pub fn export(run: &Invocation, args: &ExportArgs) -> Result<ArchiveReport, Failure> {
    let place = args.registry.place(run)?;
    archive::write(run, "export", &place, &args.file, true)
}
