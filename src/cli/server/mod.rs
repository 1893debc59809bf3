//! `lerianctl server …`: the Tenant Manager.

pub mod archive;
pub mod backup;
pub mod export;
pub mod front;
pub mod import;
pub mod master;
pub mod migrate;
pub mod place;
pub mod rekey;
pub mod restore;
pub mod run;
pub mod start;
pub mod tokens;

use clap::Subcommand;

use super::invocation::Invocation;

/// Variable with the master key of the registry.
pub const MASTER_KEY_VARIABLE: &str = "LERIANCTL_SERVER_MASTER_KEY";
/// Variable with the master key before this one, while it is being changed.
pub const PREVIOUS_MASTER_KEY_VARIABLE: &str = "LERIANCTL_SERVER_PREVIOUS_MASTER_KEY";
/// Variable with the URL of the PostgreSQL cluster that tenants are placed on.
pub const POSTGRES_URL_VARIABLE: &str = "LERIANCTL_SERVER_POSTGRES_URL";
/// Variable with the URL of a registry on PostgreSQL.
pub const REGISTRY_URL_VARIABLE: &str = "LERIANCTL_SERVER_REGISTRY_URL";
/// Variable with an API key to accept.
pub const SERVICE_KEY_VARIABLE: &str = "LERIANCTL_SERVER_SERVICE_KEY";

/// Variables of `server start`, for `lerianctl help environment`: name and meaning.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        SERVICE_KEY_VARIABLE,
        "API key that `server start` accepts, besides those of --service-key-file",
    ),
    (
        MASTER_KEY_VARIABLE,
        "Master key that wraps the registry's keys; --master-key-file and --master-key-command win",
    ),
    (
        PREVIOUS_MASTER_KEY_VARIABLE,
        "Master key before this one, while it is being changed; --previous-master-key-file wins",
    ),
    (
        POSTGRES_URL_VARIABLE,
        "postgres:// URL of the cluster that tenants are placed on; --postgres-url-file wins",
    ),
    (
        REGISTRY_URL_VARIABLE,
        "postgres:// URL of the registry; --registry and --registry-url-file win",
    ),
    (
        tokens::JWKS_VARIABLE,
        "Key set of the Access Manager, URL or file, for tokens of operators; --auth-jwks wins",
    ),
    (
        tokens::ISSUER_VARIABLE,
        "Issuer that tokens of operators must have; --auth-issuer wins",
    ),
    (
        tokens::AUDIENCE_VARIABLE,
        "Audience that tokens of operators must have; --auth-audience wins",
    ),
    (
        tokens::ADDRESS_VARIABLE,
        "Access Manager that is asked what the bearer of a token may do; --auth-address wins",
    ),
];

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
