//! `lerianctl event …`: the lifecycle events that products listen to.

pub mod tail;

use clap::Subcommand;

use super::failure::{Failure, Kind};
use super::invocation::Invocation;
use crate::events::TailError;

/// Lifecycle events of tenants
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Listen to events as products do
    Tail(tail::TailArgs),
}

impl EventCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Tail(args) => match tail::tail(run, args) {
                Ok(Some(report)) => run.emit(Ok(report)),
                Ok(None) => 0,
                Err(failure) => run.fail(&failure),
            },
        }
    }
}

impl From<TailError> for Failure {
    fn from(error: TailError) -> Self {
        match error {
            TailError::Link(error) => error.into(),
            TailError::NoChannel(_) => Self::new(
                Kind::Usage,
                "event.no_channel",
                error.to_string(),
            )
            .hint(
                "name one with `--environment`, or listen to every channel with `--every-channel`",
            ),
        }
    }
}
