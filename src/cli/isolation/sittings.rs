//! `isolation check --resume`: the file of the run that may have to go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::isolation::inventory::Inventory;
use crate::isolation::run::Settings;
use crate::isolation::sittings::{Bound, SittingError, Sittings};

/// Going on with a run that was cut short.
#[derive(Debug, Args)]
pub(super) struct SittingArgs {
    /// Go on with the run that was cut short: what the tenants' logins tried is not tried again.
    /// The fleet, the seed, the checks and the version must be the same
    #[arg(long, conflicts_with = "only_static")]
    resume: bool,

    /// Longest time that what was tried in an earlier sitting is good for; what is older at the end
    /// proves nothing
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    resume_within: Duration,
}

fn place(run: &Invocation) -> Option<PathBuf> {
    let folder = run.environment.state_folder()?;
    Some(folder.join("isolation").join("unfinished-run"))
}

impl SittingArgs {
    /// Opens the file, and takes the seed from it. Without --resume, a run that cannot be kept is
    /// merely one that cannot be resumed.
    pub(super) fn open(
        &self,
        run: &Invocation,
        inventory: &Inventory,
        settings: &mut Settings,
        seed: Option<u64>,
    ) -> Result<(), Failure> {
        if !settings.live || inventory.stores.is_empty() {
            return Ok(());
        }
        let opened = place(run)
            .ok_or(SittingError::Nothing)
            .and_then(|path| self.begin(&path, run, inventory, settings, seed));
        match opened {
            Ok(journal) => settings.sittings = Some(Arc::new(journal)),
            Err(error) if self.resume => return Err(refused(&error)),
            Err(error) => tracing::info!(%error, "this run cannot be resumed"),
        }
        Ok(())
    }

    fn begin(
        &self,
        path: &Path,
        run: &Invocation,
        inventory: &Inventory,
        settings: &mut Settings,
        seed: Option<u64>,
    ) -> Result<Sittings, SittingError> {
        let now = run.environment.now();
        let journal = Sittings::open(path, self.resume, self.resume_within, now)?;
        if let (Some(before), None) = (journal.seed(), seed) {
            settings.seed = before;
        }
        journal.bind(&Bound::of(inventory, settings))?;
        Ok(journal)
    }
}

fn refused(error: &SittingError) -> Failure {
    let (kind, code) = match error {
        SittingError::Nothing => (Kind::NotFound, "isolation.no_sitting"),
        SittingError::Busy | SittingError::Other(_) | SittingError::Old(_) => {
            (Kind::Conflict, "isolation.other_sitting")
        }
        SittingError::File(_) => (Kind::Usage, "isolation.sitting_file"),
    };
    let failure = Failure::new(kind, code, format!("no run can go on here: {error}"));
    failure.hint("begin a new run, without `--resume`")
}

/// Takes the file away: the run came to its end.
pub(super) fn over(run: &Invocation, settings: &Settings) {
    if settings.sittings.is_some()
        && let Some(path) = place(run)
    {
        let _ = std::fs::remove_file(path);
    }
}

/// Says how to go on after a run was cut short.
pub(super) fn cut_short(settings: &Settings, failure: Failure) -> Failure {
    match failure.kind {
        Kind::Interrupted | Kind::Terminated | Kind::Deadline if settings.sittings.is_some() => {
            failure.hint("the same command with `--resume` goes on where this run was cut short")
        }
        _ => failure,
    }
}
