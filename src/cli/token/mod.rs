//! `lerianctl token …`: look at tokens, check them, and make some for a development server.

pub mod inspect;
mod keys;
pub mod mint;
pub mod resolve;
mod source;
mod view;

use clap::Subcommand;

use super::invocation::Invocation;

/// Tokens (JWT): what they say, who signed them, where they lead
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Show what a token says, check its signature, and where a product would route it
    Inspect(inspect::InspectArgs),
    /// Make a token for a development server
    Mint(mint::MintArgs),
}

impl TokenCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Inspect(args) => run.emit(inspect::inspect(run, args)),
            Self::Mint(args) => run.emit(mint::mint(run, args)),
        }
    }
}
