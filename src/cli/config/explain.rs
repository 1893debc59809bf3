//! `lerianctl config explain`.

use std::fmt;

use clap::Args;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::{Entry, SETTINGS, WriteConflict};
use crate::output::{Report, Rows, Tone, View};

/// Show every setting, where it comes from and what it overrode
///
/// Secrets are never shown: a secret's value is the place where it is found.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl config explain\n  lerianctl config explain server\n  lerianctl config explain -o json | jq '.items[] | select(.origin.kind == \"variable\")'"
)]
pub struct ExplainArgs {
    /// Name of a setting, such as server; without it, all
    #[arg(add = ArgValueCandidates::new(names))]
    key: Option<String>,
}

fn names() -> Vec<CompletionCandidate> {
    SETTINGS
        .iter()
        .map(|setting| CompletionCandidate::new(setting.name).help(Some(setting.doc.into())))
        .collect()
}

/// Explains settings.
pub fn explain(run: &Invocation, args: &ExplainArgs) -> Result<ConfigReport, Failure> {
    let config = run.config()?;
    let mut items = config.entries();
    if let Some(name) = &args.key {
        items.retain(|entry| entry.key == name);
        if items.is_empty() {
            return Err(unknown(name));
        }
    }
    Ok(ConfigReport {
        detail: args.key.is_some(),
        items,
        write_conflict: config.write_conflict().cloned(),
    })
}

fn unknown(name: &str) -> Failure {
    let near = SETTINGS
        .iter()
        .map(|setting| setting.name)
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
        .unwrap_or_default();
    Failure::new(
        Kind::NotFound,
        "config.unknown_setting",
        format!("there is no setting `{name}`"),
    )
    .hint_command(
        format!("did you mean `{near}`? list them"),
        "lerianctl config explain",
    )
}

/// Settings with their origins.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigReport {
    #[serde(skip)]
    #[schemars(skip)]
    detail: bool,
    /// Settings in a stable order.
    items: Vec<Entry>,
    /// Why nothing may be changed with this configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    write_conflict: Option<WriteConflict>,
}

impl Report for ConfigReport {
    const KIND: &'static str = "Config";

    fn human(&self, out: &mut View) -> fmt::Result {
        if self.detail {
            for entry in &self.items {
                detail(entry, out);
            }
        } else if let Some(rows) = self.rows() {
            out.table(&rows);
        }
        if let Some(conflict) = &self.write_conflict {
            out.paint(Tone::Bad, conflict.to_string()).line();
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let cells = self.items.iter().map(|entry| {
            let lost: Vec<String> = entry
                .overridden
                .iter()
                .map(|lost| format!("{} ({})", lost.value, lost.origin))
                .collect();
            vec![
                entry.key.to_owned(),
                entry.value.clone().unwrap_or_default(),
                origin(entry),
                lost.join(", "),
                entry
                    .problem
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                entry.description.to_owned(),
            ]
        });
        Some(Rows {
            columns: vec!["key", "value", "origin", "overrode", "problem"],
            wide: vec!["description"],
            cells: cells.collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}

fn origin(entry: &Entry) -> String {
    entry
        .origin
        .as_ref()
        .map_or_else(|| "not set".to_owned(), ToString::to_string)
}

fn detail(entry: &Entry, out: &mut View) {
    out.paint(Tone::Strong, entry.key)
        .plain(format!(": {}", entry.description))
        .line();
    let mut fields = vec![
        ("value", entry.value.clone().unwrap_or_default()),
        ("from", origin(entry)),
    ];
    for lost in &entry.overridden {
        fields.push(("overrode", format!("{} ({})", lost.value, lost.origin)));
    }
    out.fields(&fields);
    if let Some(problem) = &entry.problem {
        out.paint(Tone::Bad, format!("problem: {problem}")).line();
        if let Some(hint) = &problem.hint {
            out.plain(format!("hint: {hint}")).line();
        }
    }
}
