//! `lerianctl server …`: the Tenant Manager.

pub mod archive;
pub mod backup;
pub mod export;
pub mod front;
pub mod import;
pub mod isolation;
pub mod master;
pub mod migrate;
pub mod place;
mod probes;
pub mod rekey;
pub mod restore;
pub mod run;
pub mod start;
pub mod tokens;

use clap::Subcommand;

use super::invocation::Invocation;

/// The Tenant Manager
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Serve until told to stop
    Start(Box<start::StartArgs>),
    /// Seal every secret in the registry with a new key, while it is in use
    Rekey(rekey::RekeyArgs),
    /// Bring the schema of a registry up to date, making it when absent
    Migrate(migrate::MigrateArgs),
    /// Write the registry, as it is at this moment, to a new file
    Backup(backup::BackupArgs),
    /// Make a registry from a backup
    Restore(restore::RestoreArgs),
    /// Write a registry that no server works on to a file, to move it elsewhere
    Export(export::ExportArgs),
    /// Make a registry from an export, of the same or of another kind
    Import(import::ImportArgs),
}

impl ServerCommand {
    /// Runs the verb.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Start(args) => run.emit_or_done(start::start(run, args)),
            Self::Rekey(args) => run.emit(rekey::rekey(run, args)),
            Self::Migrate(args) => run.emit(migrate::migrate(run, args)),
            Self::Backup(args) => run.emit(backup::backup(run, args)),
            Self::Restore(args) => run.emit(restore::restore(run, args)),
            Self::Export(args) => run.emit(export::export(run, args)),
            Self::Import(args) => run.emit(import::import(run, args)),
        }
    }
}
