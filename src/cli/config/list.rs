//! `lerianctl config list`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::config::{ConfigFile, Key, store};
use crate::output::{Report, Rows, View};

/// List the deployments of the config file
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl config list\n  lerianctl config list -o name")]
pub struct ListArgs {}

/// Lists contexts.
pub fn list(run: &Invocation, _args: &ListArgs) -> Result<ContextListReport, Failure> {
    let path = run.config_path().value;
    let Some(source) = store::read(&path)? else {
        return Ok(ContextListReport {
            path,
            items: Vec::new(),
        });
    };
    let file = ConfigFile::parse(&source, run.home().as_deref());
    if let Some(problem) = file.problems.first() {
        return Err(problem.clone().into());
    }
    for warning in &file.warnings {
        run.console.warn(&warning.message);
    }
    let variable = run.environment.variable("LERIANCTL_CONTEXT");
    let named = run.globals.context.as_deref().or(variable);
    let current = named.or(file.current.as_ref().map(|(_, name)| name.as_str()));
    let items = file.contexts.values().map(|context| {
        let shown = |key| context.shown(key);
        ContextItem {
            name: context.name.clone(),
            current: current == Some(&context.name),
            server: shown(Key::Server),
            api_key: shown(Key::ApiKey),
            environment: shown(Key::Environment),
            redis: shown(Key::RedisHost),
            protected: shown(Key::Protected).as_deref() == Some("true"),
            line: context.line,
            problems: context
                .problems
                .iter()
                .map(|problem| problem.message.clone())
                .collect(),
        }
    });
    Ok(ContextListReport {
        items: items.collect(),
        path,
    })
}

/// Contexts by name.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ContextListReport {
    /// The config file.
    path: PathBuf,
    /// Contexts.
    items: Vec<ContextItem>,
}

/// A context, without secrets.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ContextItem {
    name: String,
    /// Whether it is the one in use.
    current: bool,
    server: Option<String>,
    /// Where the API key is found.
    api_key: Option<String>,
    environment: Option<String>,
    /// Host of the Redis.
    redis: Option<String>,
    protected: bool,
    /// Line of the config file.
    line: usize,
    /// What makes it unusable.
    problems: Vec<String>,
}

impl Report for ContextListReport {
    const KIND: &'static str = "ContextList";

    fn human(&self, out: &mut View) -> fmt::Result {
        if self.items.is_empty() {
            out.plain(format!("no deployments in {}", self.path.display()))
                .line();
        } else if let Some(rows) = self.rows() {
            out.table(&rows);
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let mark = |yes: bool, word: &str| if yes { word.to_owned() } else { String::new() };
        let cells = self.items.iter().map(|item| {
            vec![
                item.name.clone(),
                mark(item.current, "current"),
                item.server.clone().unwrap_or_default(),
                item.api_key.clone().unwrap_or_default(),
                item.environment.clone().unwrap_or_default(),
                mark(item.protected, "protected"),
                item.problems.join("; "),
                item.redis.clone().unwrap_or_default(),
            ]
        });
        Some(Rows {
            columns: vec![
                "name",
                "current",
                "server",
                "api-key",
                "environment",
                "protected",
                "problem",
            ],
            wide: vec!["redis"],
            cells: cells.collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
