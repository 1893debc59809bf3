//! `lerianctl isolation …`: proof that one tenant cannot reach another's data.

pub mod check;
pub mod explain;
pub mod fleet;
pub mod list;
mod products;
pub mod show;
mod view;
mod written;

use clap::Subcommand;

use super::invocation::Invocation;

/// Proof that one tenant cannot reach another's data
#[derive(Debug, Subcommand)]
pub enum IsolationCommand {
    /// Prove, or refute, that no tenant reaches another's data
    Check(Box<check::CheckArgs>),
    /// Explain a check: its claim, why it matters, how it looks, what mends it
    Explain(explain::ExplainArgs),
    /// List the checks
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show the last report again
    Show(show::ShowArgs),
}

impl IsolationCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Check(args) => run.emit(check::check(run, args)),
            Self::Explain(args) => run.emit(explain::explain(args)),
            Self::List(args) => run.emit(list::list(args)),
            Self::Show(args) => run.emit(show::show(run, args)),
        }
    }
}
