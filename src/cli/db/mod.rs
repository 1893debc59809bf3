//! `lerianctl db …`: the databases and schemas of tenants.

pub mod list;
pub mod provision;
pub mod verify;

use clap::Subcommand;

use super::invocation::Invocation;

/// Databases and schemas of tenants
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Finish or repair the databases of a tenant
    Provision(provision::ProvisionArgs),
    /// List the databases and schemas of tenants
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Try with a tenant's own login what it can reach and what it cannot
    Verify(verify::VerifyArgs),
}

impl DbCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Provision(args) => run.emit(provision::provision(run, args)),
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Verify(args) => run.emit(verify::verify(run, args)),
        }
    }
}
