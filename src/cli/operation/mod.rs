//! `lerianctl operation …`: long-running changes.

pub mod list;
pub mod show;
pub mod wait;

use clap::Subcommand;

use super::invocation::Invocation;

/// Long-running changes and their steps
#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// List operations, newest first
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show one operation with its steps
    Show(show::ShowArgs),
    /// Wait until an operation is done
    Wait(wait::WaitArgs),
}

impl OperationCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Show(args) => run.emit(show::show(run, args)),
            Self::Wait(args) => run.emit(wait::wait(run, args)),
        }
    }
}
