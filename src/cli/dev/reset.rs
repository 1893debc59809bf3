//! `lerianctl dev reset`.

use std::fmt;

use clap::Args;

use super::DataArgs;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::devstack::stack;
use crate::output::{Report, View};

/// Remove the stack with all of its data
///
/// Refused while it runs, and for folders that no development stack was made in.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl dev down && lerianctl dev reset --yes")]
pub struct ResetArgs {
    #[command(flatten)]
    data: DataArgs,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Removes the stack.
pub fn reset(run: &Invocation, args: &ResetArgs) -> Result<ResetReport, Failure> {
    let folder = args.data.folder(run)?;
    let found = run.block_on(stack::status(&folder))?;
    if found.is_none() {
        return Ok(ResetReport { changed: false });
    }
    run.approve_local(
        args.yes,
        &format!(
            "Remove the development stack in {} with all of its data",
            folder.display()
        ),
    )?;
    let changed = run.block_on(stack::reset(&folder))?;
    Ok(ResetReport { changed })
}

/// Whether there was something to remove.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ResetReport {
    /// False when there was no stack.
    changed: bool,
}

impl Report for ResetReport {
    const KIND: &'static str = "DevReset";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.plain(if self.changed {
            "the development stack was removed with all of its data"
        } else {
            "there is no development stack"
        })
        .line();
        Ok(())
    }
}
