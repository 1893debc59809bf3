//! `lerianctl service …`: associations of tenants with services.

pub mod add;
pub mod list;
pub mod reactivate;
pub mod remove;
pub mod suspend;

use clap::Subcommand;

use super::invocation::Invocation;

/// Associations of tenants with services
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Associate a tenant with a service and provision its databases
    Add(add::AddArgs),
    /// List a tenant's services, or the services that exist
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Refuse a tenant in one service, keeping its data
    Suspend(suspend::SuspendArgs),
    /// Serve a tenant in a suspended service again
    Reactivate(reactivate::ReactivateArgs),
    /// End a tenant's association with a service, with its data or without
    Remove(remove::RemoveArgs),
}

impl ServiceCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Add(args) => run.emit(add::add(run, args)),
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Suspend(args) => run.emit(suspend::suspend(run, args)),
            Self::Reactivate(args) => run.emit(reactivate::reactivate(run, args)),
            Self::Remove(args) => run.emit(remove::remove(run, args)),
        }
    }
}
