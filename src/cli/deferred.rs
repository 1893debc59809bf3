//! Nouns whose verbs are only built when one of them is asked for.
//!
//! Building every verb of every noun costs more than all the work of a short command.

use std::cell::Cell;

use clap::{ArgMatches, Command, Error, FromArgMatches, Subcommand};

thread_local! {
    static WHOLE: Cell<bool> = const { Cell::new(false) };
}

/// Builds a tree with every verb of every noun: help, manual pages and completion look at all.
pub(super) fn whole(build: impl FnOnce() -> Command) -> Command {
    let before = WHOLE.replace(true);
    let command = build();
    WHOLE.set(before);
    command
}

/// The verbs of a noun, built on demand.
#[derive(Debug)]
pub(super) struct Deferred<T>(pub T);

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Subcommand> Subcommand for Deferred<T> {
    fn augment_subcommands(command: Command) -> Command {
        if WHOLE.get() {
            T::augment_subcommands(command)
        } else {
            command.defer(T::augment_subcommands)
        }
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command.defer(T::augment_subcommands_for_update)
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}
