//! `lerianctl dev down`.

use std::fmt;
use std::time::Duration;

use clap::Args;

use super::DataArgs;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::devstack::stack::{self, Down};
use crate::output::{Report, View};

/// Longest time that the stack may take to stop when `--timeout` says nothing.
const LIMIT: Duration = Duration::from_mins(1);

/// Stop the stack; its data stays
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl dev down")]
pub struct DownArgs {
    #[command(flatten)]
    data: DataArgs,
}

/// Stops the stack.
pub fn down(run: &Invocation, args: &DownArgs) -> Result<DownReport, Failure> {
    let folder = args.data.folder(run)?;
    let limit = run.remaining().unwrap_or(LIMIT);
    let outcome = run.block_on(stack::down(&folder, limit))?;
    Ok(DownReport {
        changed: outcome != Down::NotRunning,
        outcome: match outcome {
            Down::Stopped => "stopped",
            Down::Cleared => "cleared",
            Down::NotRunning => "notRunning",
        },
    })
}

/// What stopping came to.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct DownReport {
    /// False when nothing ran.
    changed: bool,
    /// `stopped`, `cleared` (leftovers of a killed run were stopped) or `notRunning`.
    outcome: &'static str,
}

impl Report for DownReport {
    const KIND: &'static str = "DevDown";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.plain(match self.outcome {
            "stopped" => "the development stack was stopped; its data stays",
            "cleared" => "what a killed run had left behind was stopped",
            _ => "no development stack runs",
        })
        .line();
        Ok(())
    }
}
