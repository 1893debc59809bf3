//! `lerianctl config use`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::ConfigChangeReport;
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::{edit, store};

/// Make a deployment the current one
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl config use staging")]
pub struct UseArgs {
    /// Name of the deployment
    #[arg(add = ArgValueCandidates::new(complete::contexts))]
    name: String,
}

/// Chooses a context.
pub fn use_context(run: &Invocation, args: &UseArgs) -> Result<ConfigChangeReport, Failure> {
    let path = run.config_path().value;
    let changed =
        store::edit(&path, |old| edit::use_context(old, &args.name)).map_err(|problem| {
            let unknown = problem.code == "config.unknown_context";
            let mut failure = Failure::from(problem);
            if unknown {
                failure.kind = Kind::NotFound;
            }
            failure
        })?;
    if let Some(name) = run.environment.variable("LERIANCTL_CONTEXT")
        && name != args.name
    {
        run.console.warn(format!(
            "LERIANCTL_CONTEXT is set to `{name}`, which wins over the current deployment"
        ));
    }
    Ok(ConfigChangeReport {
        changed,
        path,
        context: args.name.clone(),
        current: true,
    })
}
