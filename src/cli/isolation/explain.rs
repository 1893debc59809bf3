//! `lerianctl isolation explain`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::view::wrapped;
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::isolation::model::Check;
use crate::isolation::{control, kafka, mongodb, objects, rabbitmq, redis};
use crate::output::{Report, Tone, View};

/// Explain a check: its claim, why it matters, how it looks, what mends it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation explain PG-002\n  lerianctl isolation explain PG-002 --query > pg-002.sql"
)]
pub struct ExplainArgs {
    /// Id, as `isolation list` shows it
    #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::checks))]
    id: String,

    /// Show the exact query, too
    #[arg(long)]
    query: bool,
}

/// Explains a check.
pub fn explain(args: &ExplainArgs) -> Result<CheckReport, Failure> {
    let check = super::check::known(&args.id)?;
    Ok(CheckReport {
        check,
        controlled: control::planted().contains(check.id)
            || redis::planted().contains(check.id)
            || rabbitmq::planted().contains(check.id)
            || mongodb::planted().contains(check.id)
            || kafka::planted().contains(check.id)
            || objects::planted().contains(check.id),
        query: args.query,
    })
}

/// The page of one check.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct CheckReport {
    /// The check.
    #[serde(flatten)]
    check: &'static Check,
    /// True when a breach of this kind is planted in each run.
    controlled: bool,
    #[serde(skip)]
    query: bool,
}

impl Report for CheckReport {
    const KIND: &'static str = "Check";

    fn human(&self, out: &mut View) -> fmt::Result {
        let check = self.check;
        let width = out.width.map_or(84, usize::from).clamp(40, 84);
        for line in wrapped(&format!("{} · {}", check.id, check.title), width) {
            out.paint(Tone::Strong, line).line();
        }
        let mut facts = vec![
            format!("severity {}", check.severity),
            format!("looks at {}", place(check)),
            format!("concerns {}", check.peach),
        ];
        if check.schema_mode {
            facts.push("only where tenants share a database".into());
        }
        if check.limit {
            facts.push("a limit that no setting changes".into());
        }
        if check.since > 0 {
            facts.push(format!("since PostgreSQL {}", check.since / 10_000));
        }
        for line in wrapped(&facts.join(" · "), width) {
            out.paint(Tone::Dim, line).line();
        }
        let control = if self.controlled && check.sql.is_none() {
            "A breach of this kind is planted in each run, in what a server answers and never on a server, and has to be found."
        } else if self.controlled {
            "A breach of this kind is planted in each run, in a transaction that is rolled back, and has to be found."
        } else if check.family.as_str() == "http" {
            "A product inside of this program makes this mistake in each run, and has to be found; each refusal stands between two requests that must succeed."
        } else if check.sql.is_some() {
            "A breach of this kind cannot be planted in a transaction; the check runs without a control."
        } else {
            "Each refusal is paired with what must succeed; pure comparisons are covered by tests."
        };
        for (title, text) in [
            ("Claim", check.claim.as_str()),
            ("Why", &check.why),
            ("How it looks", &check.looks),
            ("Control", control),
        ] {
            out.line().paint(Tone::Strong, title).line();
            for line in wrapped(text, width - 2) {
                out.plain(format!("  {line}")).line();
            }
        }
        out.line().paint(Tone::Strong, "Remedy").line();
        for line in check.remedy.lines() {
            out.plain(format!("  {line}")).line();
        }
        if let Some(sql) = &check.sql {
            out.line().paint(Tone::Strong, "Query").line();
            if self.query {
                out.plain(sql).line();
            } else {
                let text = format!(
                    "lerianctl isolation explain {} --query prints it; its one parameter is the inventory as JSON.",
                    check.id
                );
                for line in wrapped(&text, width - 2) {
                    out.plain(format!("  {line}")).line();
                }
            }
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.check.id.to_owned())
    }
}

fn place(check: &Check) -> &'static str {
    match check.family.as_str() {
        "config" => "what tenants are handed",
        "cluster" => "the catalogues of the cluster",
        "database" => "the catalogues of each database",
        "live" => "what happens when it is tried",
        "http" => "what a running product answers",
        "redis" => "Redis",
        _ => "RabbitMQ",
    }
}
