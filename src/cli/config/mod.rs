//! `lerianctl config …`: deployments, settings, and where each value comes from.

pub mod explain;
pub mod init;
pub mod list;
mod products;
pub mod use_context;
pub mod validate;

use std::fmt;
use std::path::PathBuf;

use clap::Subcommand;

use super::invocation::Invocation;
use crate::output::{Report, View};

/// Deployments, settings, and where each value comes from
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a deployment into the config file, which is made when absent
    Init(init::InitArgs),
    /// Make a deployment the current one
    Use(use_context::UseArgs),
    /// List the deployments of the config file
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show every setting, where it comes from and what it overrode
    Explain(explain::ExplainArgs),
    /// Check the configuration, and the products' variables against the products' rules
    Validate(validate::ValidateArgs),
}

impl ConfigCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Init(args) => run.emit(init::init(run, args)),
            Self::Use(args) => run.emit(use_context::use_context(run, args)),
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Explain(args) => run.emit(explain::explain(run, args)),
            Self::Validate(args) => run.emit(validate::validate(run, args)),
        }
    }
}

/// A change of the config file.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ConfigChangeReport {
    /// False when the file said so already.
    changed: bool,
    /// The config file.
    path: PathBuf,
    /// The context that was written or chosen.
    context: String,
    /// Whether it is the current one.
    current: bool,
}

impl Report for ConfigChangeReport {
    const KIND: &'static str = "ConfigChange";

    fn human(&self, out: &mut View) -> fmt::Result {
        let state = if self.current {
            ", now the current one"
        } else {
            ""
        };
        let verb = if self.changed { "in" } else { "already so in" };
        out.plain(format!(
            "context {}{state}, {verb} {}",
            self.context,
            self.path.display()
        ))
        .line();
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.context.clone())
    }
}
