//! `lerianctl docs`.

use clap::Args;
use serde_json::{Value, json};

use super::reference;
use crate::cli::effects;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::openapi;

/// Print the command tree with the effect of every command, or the server's OpenAPI document
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl docs | jq -r '.. | objects | select(.effect == \"destructive\") | .path'"
)]
pub struct DocsArgs {
    /// `json`: the command tree; `openapi`: the HTTP interface of the Tenant Manager; `markdown`:
    /// variables and exit statuses
    #[arg(long, value_name = "FORMAT", default_value = "json", value_parser = ["json", "openapi", "markdown"])]
    format: String,
}

/// Prints the tree.
pub fn docs(run: &Invocation, args: &DocsArgs) -> Result<(), Failure> {
    let document = match args.format.as_str() {
        "markdown" => {
            run.console.out(&reference::markdown());
            return Ok(());
        }
        "openapi" => openapi::document(),
        _ => tree(),
    };
    run.console.out(&format!(
        "{}\n",
        serde_json::to_string_pretty(&document).unwrap_or_default()
    ));
    Ok(())
}

/// Returns the whole tree.
pub fn tree() -> Value {
    let mut command = crate::cli::command();
    command.build();
    node(&command, "")
}

fn node(command: &clap::Command, path: &str) -> Value {
    let arguments: Vec<Value> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && (path.is_empty() || !arg.is_global_set()))
        .map(|arg| {
            json!({
                "name": arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}")),
                "short": arg.get_short().map(|short| format!("-{short}")),
                "value": arg.get_action().takes_values().then(|| {
                    arg.get_value_names().map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
                }).flatten(),
                "required": arg.is_required_set(),
                "help": arg.get_help().map(ToString::to_string),
            })
        })
        .collect();
    let commands: Vec<Value> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .map(|sub| node(sub, format!("{path} {}", sub.get_name()).trim()))
        .collect();
    json!({
        "path": path,
        "about": command.get_about().map(ToString::to_string),
        "effect": effects::of(path),
        "arguments": arguments,
        "commands": commands,
    })
}
