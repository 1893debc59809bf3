//! `lerianctl operation wait`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::show::OperationReport;
use crate::cli::change::follow;
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;

/// Wait until an operation is done
///
/// Status 0 when it succeeded, 6 when it failed, 8 when `--timeout` passed first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl operation wait 019a1f7e-0000-7000-8000-000000000001 --timeout 5m"
)]
pub struct WaitArgs {
    /// Operation id
    #[arg(add = ArgValueCandidates::new(complete::operations))]
    operation: String,
}

/// Waits for an operation.
pub fn wait(run: &Invocation, args: &WaitArgs) -> Result<OperationReport, Failure> {
    follow(run, &args.operation).map(|operation| OperationReport { operation })
}
