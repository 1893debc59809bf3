//! `lerianctl server import`.

use std::path::PathBuf;

use clap::Args;

use super::archive::{self, ArchiveReport};
use super::place::RegistryArgs;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;

/// Make a registry from an export, of the same or of another kind
///
/// From SQLite to PostgreSQL, or back: only an empty registry is filled, all of it or nothing,
/// and row counts and digests of every table are compared before it counts.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl server import --registry-url-file registry.url --dry-run registry.export\n  lerianctl server import --registry-url-file registry.url registry.export"
)]
pub struct ImportArgs {
    /// File that `server export` made
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    registry: RegistryArgs,

    /// Check the file and the registry, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Imports an export.
pub fn import(run: &Invocation, args: &ImportArgs) -> Result<ArchiveReport, Failure> {
    let place = args.registry.place(run)?;
    archive::read(run, "import", &place, &args.file, args.dry_run)
}
