//! `lerianctl isolation list`.

use std::fmt;

use clap::Args;

use crate::cli::failure::Failure;
use crate::isolation::catalogue;
use crate::isolation::model::{Check, Severity};
use crate::output::{Report, Rows, Tone, View};

/// List the checks
///
/// Each has a page: `lerianctl isolation explain ID`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation list\n  lerianctl isolation list --severity critical\n  lerianctl isolation list -o csv --columns id,severity,claim"
)]
pub struct ListArgs {
    /// Only this severity and worse
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
}

/// Lists the checks.
pub fn list(args: &ListArgs) -> Result<CheckListReport, Failure> {
    let least = args.severity.unwrap_or(Severity::Info);
    Ok(CheckListReport {
        items: catalogue::all()
            .iter()
            .filter(|check| check.severity >= least)
            .collect(),
    })
}

/// The checks, by family.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct CheckListReport {
    /// Checks.
    items: Vec<&'static Check>,
}

impl Report for CheckListReport {
    const KIND: &'static str = "CheckList";

    fn human(&self, out: &mut View) -> fmt::Result {
        let mut family = None;
        for check in &self.items {
            if family != Some(check.family) {
                if family.is_some() {
                    out.line();
                }
                let title = match check.family.as_str() {
                    "config" => "What tenants are handed",
                    "cluster" => "Catalogues of a PostgreSQL cluster",
                    "database" => "Catalogues of a database",
                    "live" => "Tried with the tenants' own logins",
                    "http" => "Probes of running products",
                    "redis" => "Redis",
                    "mongodb" => "MongoDB",
                    "kafka" => "Kafka",
                    "objects" => "Object stores",
                    _ => "RabbitMQ",
                };
                out.paint(Tone::Strong, title).line();
                family = Some(check.family);
            }
            let width = out.width.map_or(usize::MAX, usize::from);
            let title = crate::output::table::cut(check.title, width.saturating_sub(20));
            out.plain(format!("  {:<7} ", check.id))
                .paint(Tone::Dim, format!("{:<8} ", check.severity))
                .plain(title)
                .line();
        }
        out.line()
            .paint(
                Tone::Dim,
                format!(
                    "{} checks; lerianctl isolation explain ID tells more",
                    self.items.len()
                ),
            )
            .line();
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec!["id", "severity", "family", "title"],
            wide: vec!["claim", "peach", "mode"],
            cells: self
                .items
                .iter()
                .map(|check| {
                    vec![
                        check.id.to_owned(),
                        check.severity.to_string(),
                        check.family.as_str().to_owned(),
                        check.title.to_owned(),
                        check.claim.clone(),
                        check.peach.clone(),
                        if check.schema_mode { "schema" } else { "both" }.to_owned(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
