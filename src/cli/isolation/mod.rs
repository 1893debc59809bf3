//! `lerianctl isolation …`: proof that one tenant cannot reach another's data.

pub mod canary;
pub mod check;
pub mod diff;
pub mod explain;
pub mod fix;
pub mod fleet;
pub mod http;
pub mod kafka;
pub mod list;
pub mod mongodb;
mod products;
pub mod rabbitmq;
pub mod redis;
pub mod show;
mod sittings;
pub mod verify_report;
mod view;
pub mod written;

use clap::Subcommand;

use super::invocation::Invocation;

/// Proof that one tenant cannot reach another's data
#[derive(Debug, Subcommand)]
pub enum IsolationCommand {
    /// Give tenants the canary that PG-206 reads, or take it away
    Canary(canary::CanaryArgs),
    /// Prove, or refute, that no tenant reaches another's data
    Check(Box<check::CheckArgs>),
    /// Show what changed between two reports
    Diff(diff::DiffArgs),
    /// Explain a check: its claim, why it matters, how it looks, what mends it
    Explain(explain::ExplainArgs),
    /// Mend what a check finds, as far as that needs no person
    Fix(Box<fix::FixArgs>),
    /// List the checks
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show the last report again
    Show(show::ShowArgs),
    /// Verify that a report is what somebody signed
    VerifyReport(verify_report::VerifyReportArgs),
}

impl IsolationCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Canary(args) => run.emit(canary::canary(run, args)),
            Self::Check(args) => run.emit(check::check(run, args)),
            Self::Diff(args) => run.emit(diff::diff(run, args)),
            Self::Explain(args) => run.emit(explain::explain(args)),
            Self::Fix(args) => run.emit(fix::fix(run, args)),
            Self::List(args) => run.emit(list::list(args)),
            Self::Show(args) => run.emit(show::show(run, args)),
            Self::VerifyReport(args) => run.emit(verify_report::verify_report(run, args)),
        }
    }
}
