//! Values that several commands take.

use clap::Args;

use super::failure::{Failure, Kind};
use crate::contract::wire::{ConnectionSettings, IsolationMode};

/// Parses an isolation mode.
pub fn isolation(text: &str) -> Result<IsolationMode, String> {
    match text {
        "database" | "isolated" => Ok(IsolationMode::Database),
        "schema" => Ok(IsolationMode::Schema),
        _ => Err("an isolation mode is `database` or `schema`".into()),
    }
}

/// Parses `KEY=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "this is not KEY=VALUE".into())
}

/// Pool settings of an association.
#[derive(Debug, Clone, Default, Args)]
pub struct PoolArgs {
    /// Open connections per pool and pod; products open two pools per module
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    max_open_conns: Option<u32>,

    /// Idle connections per pool and pod
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    max_idle_conns: Option<u32>,

    /// Longest statement, set on the login role: `30s`, `500ms`
    #[arg(long, value_name = "DURATION")]
    statement_timeout: Option<String>,
}

impl PoolArgs {
    /// Returns the settings, zero and empty where nothing was said.
    pub fn settings(&self) -> Result<ConnectionSettings, Failure> {
        let (open, idle) = (
            self.max_open_conns.unwrap_or(0),
            self.max_idle_conns.unwrap_or(0),
        );
        if open > 0 && idle > open {
            return Err(Failure::new(
                Kind::Usage,
                "input.pool",
                format!("`--max-idle-conns {idle}` is more than `--max-open-conns {open}`"),
            ));
        }
        Ok(ConnectionSettings {
            max_open_conns: open,
            max_idle_conns: idle,
            statement_timeout: self.statement_timeout.clone().unwrap_or_default(),
        })
    }
}
