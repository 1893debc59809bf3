//! `lerianctl dev …`: a private stack on this machine, to try things on.

pub mod down;
pub mod env;
pub mod reset;
pub mod sample;
pub mod status;
pub mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::failure::{Failure, Kind};
use super::invocation::{Invocation, development_folder};

/// A private stack to try things on: PostgreSQL, Redis and a Tenant Manager
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Start the stack
    Up(up::UpArgs),
    /// Stop the stack; its data stays
    Down(down::DownArgs),
    /// Show whether the stack runs, and where
    Status(status::StatusArgs),
    /// Print variables that point lerianctl and Lerian's products at the stack
    Env(env::EnvArgs),
    /// Serve a small sample product on the stack's tenants
    Sample(sample::SampleArgs),
    /// Remove the stack with all of its data
    Reset(reset::ResetArgs),
}

impl DevCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Up(args) => run.emit_or_done(up::up(run, args)),
            Self::Down(args) => run.emit(down::down(run, args)),
            Self::Status(args) => run.emit(status::status(run, args)),
            Self::Env(args) => env::env(run, args),
            Self::Sample(args) => run.emit_or_done(sample::sample(run, args)),
            Self::Reset(args) => run.emit(reset::reset(run, args)),
        }
    }
}

/// Where the stack keeps its data.
#[derive(Debug, Clone, Default, Args)]
pub struct DataArgs {
    /// Folder of the stack [default: `dev` in lerianctl's data folder]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl DataArgs {
    /// Returns the folder as an absolute path.
    pub fn folder(&self, run: &Invocation) -> Result<PathBuf, Failure> {
        let folder = development_folder(run, self.data.as_ref())?;
        std::path::absolute(&folder).map_err(|error| {
            Failure::new(
                Kind::Usage,
                "input.unreadable",
                format!("`{}` is not a folder", folder.display()),
            )
            .cause(error)
        })
    }
}

/// The failure of asking a stack that was never started.
fn never_started(folder: &std::path::Path) -> Failure {
    Failure::new(
        Kind::NotFound,
        "dev.none",
        format!("there is no development stack in `{}`", folder.display()),
    )
    .hint_command("start one", "lerianctl dev up --detach")
}
