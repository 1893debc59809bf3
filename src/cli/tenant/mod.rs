//! `lerianctl tenant …`: tenants and their life.

pub mod create;
pub mod list;
pub mod purge;
pub mod reactivate;
pub mod rotate;
pub mod show;
pub mod suspend;
pub mod update;

use clap::Subcommand;

use super::invocation::Invocation;

/// Tenants and their life
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Create a tenant, associate it with services and provision its databases, in one go
    Create(create::CreateArgs),
    /// List or search tenants
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show one tenant with its services and databases
    Show(show::ShowArgs),
    /// Change a tenant's name, metadata, owner or pool settings
    Update(update::UpdateArgs),
    /// Refuse a tenant everywhere, keeping its data
    Suspend(suspend::SuspendArgs),
    /// Serve a suspended tenant again
    Reactivate(reactivate::ReactivateArgs),
    /// Give a tenant new database logins without a failed connection
    Rotate(rotate::RotateArgs),
    /// Remove a tenant with all of its data
    Purge(purge::PurgeArgs),
}

impl TenantCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Create(args) => run.emit(create::create(run, args)),
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Show(args) => run.emit(show::show(run, args)),
            Self::Update(args) => run.emit(update::update(run, args)),
            Self::Suspend(args) => run.emit(suspend::suspend(run, args)),
            Self::Reactivate(args) => run.emit(reactivate::reactivate(run, args)),
            Self::Rotate(args) => run.emit(rotate::rotate(run, args)),
            Self::Purge(args) => run.emit(purge::purge(run, args)),
        }
    }
}
