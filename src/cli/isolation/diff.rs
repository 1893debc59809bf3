//! `lerianctl isolation diff`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{show, view};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::isolation::diff::{Difference, Turned, diff as compare};
use crate::isolation::model::{Finding, Severity};
use crate::output::{Report, Rows, Tone, View};

/// Show what changed between two reports
///
/// A finding is gone only where its check looked again everywhere; what nobody looked at is listed
/// apart. Status 3 when there is a new finding, one that became worse, or a check that concluded
/// something before and no longer does.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation diff yesterday.json\n  lerianctl isolation diff yesterday.json today.json --fail-on high -o json"
)]
pub struct DiffArgs {
    /// Earlier report (-o json of a check)
    #[arg(value_name = "BEFORE")]
    before: PathBuf,

    /// Later report; the last one that was kept when absent
    #[arg(value_name = "NOW")]
    now: Option<PathBuf>,

    /// New findings below this do not fail
    #[arg(long, value_name = "SEVERITY", default_value = "low")]
    fail_on: Severity,
}

/// Compares two reports.
pub fn diff(run: &Invocation, args: &DiffArgs) -> Result<DifferenceReport, Failure> {
    let before = show::read(run, &args.before)?;
    let now = show::read_or_last(run, args.now.as_deref())?.outcome;
    let difference = compare(&before, &now);
    let worse = difference
        .changed
        .iter()
        .filter(|changed| changed.finding.severity > changed.before)
        .map(|changed| &changed.finding);
    let fails = difference
        .new
        .iter()
        .chain(worse)
        .any(|finding| finding.counts() && finding.severity >= args.fail_on)
        || difference.checks.iter().any(Turned::lost);
    Ok(DifferenceReport {
        passed: !fails,
        before: Side {
            run: before.run,
            started_at: before.started_at,
        },
        now: Side {
            run: now.run,
            started_at: now.started_at,
        },
        difference,
    })
}

/// One of the two runs.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Id of the run.
    run: String,
    /// When it began.
    #[schemars(with = "String")]
    started_at: Timestamp,
}

/// What changed between two reports.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceReport {
    /// True when the exit status is 0.
    passed: bool,
    /// The earlier run.
    before: Side,
    /// The later run.
    now: Side,
    /// What changed.
    #[serde(flatten)]
    difference: Difference,
}

impl DifferenceReport {
    /// Every finding with a word for what became of it.
    fn told(&self) -> impl Iterator<Item = (&'static str, &Finding)> {
        let difference = &self.difference;
        let new = difference.new.iter().map(|finding| ("new", finding));
        let changed = difference.changed.iter().map(|changed| {
            let word = if changed.finding.severity > changed.before {
                "worse"
            } else {
                "milder"
            };
            (word, &changed.finding)
        });
        let unseen = difference.unseen.iter().map(|finding| ("unseen", finding));
        let fixed = difference.fixed.iter().map(|finding| ("fixed", finding));
        new.chain(changed).chain(unseen).chain(fixed)
    }
}

impl Report for DifferenceReport {
    const KIND: &'static str = "IsolationDifference";

    fn human(&self, out: &mut View) -> fmt::Result {
        let difference = &self.difference;
        let width = out.width.map_or(view::WIDTH, usize::from).max(40);
        let headline = format!(
            "{} new, {} changed, {} fixed, {} unseen, {} unchanged",
            difference.new.len(),
            difference.changed.len(),
            difference.fixed.len(),
            difference.unseen.len(),
            difference.unchanged
        );
        let tone = if self.passed { Tone::Good } else { Tone::Bad };
        out.paint(tone, headline).line();
        let times = format!("from {} to {}", self.before.started_at, self.now.started_at);
        out.prose(Some(Tone::Dim), 2, times);
        for (word, finding) in self.told() {
            let tone = match word {
                "fixed" | "milder" => Tone::Good,
                "unseen" => Tone::Warn,
                _ => Tone::Bad,
            };
            out.line()
                .paint(tone, format!("{word:<7}"))
                .plain(format!("{:<9}", finding.severity));
            let title = format!("{} · {}", finding.check, finding.title);
            let mut lines = view::wrapped(&title, width.saturating_sub(16)).into_iter();
            out.paint(Tone::Strong, lines.next().unwrap_or_default())
                .line();
            for line in lines {
                out.plain(" ".repeat(16)).paint(Tone::Strong, line).line();
            }
            let indent = " ".repeat(16);
            view::paragraph(out, width, &indent, &view::reach(finding));
            view::paragraph(out, width, &indent, &finding.object);
        }
        if !difference.checks.is_empty() {
            out.line()
                .paint(Tone::Strong, "Checks that conclude otherwise")
                .line();
            for turned in &difference.checks {
                let word = |verdict: Option<_>| match verdict {
                    Some(verdict) => format!("{verdict}"),
                    None => "absent".to_owned(),
                };
                let text = format!(
                    "{} {} -> {}: {}",
                    turned.check,
                    word(turned.before),
                    word(turned.now),
                    turned.title
                );
                view::paragraph(out, width, "  ", &text);
            }
        }
        for (what, names) in [
            ("Tenants that were added", &difference.tenants_added),
            ("Tenants that are gone", &difference.tenants_removed),
        ] {
            if !names.is_empty() {
                out.line().paint(Tone::Strong, what).line();
                view::paragraph(out, width, "  ", &view::names(names));
            }
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec!["change", "check", "severity", "object"],
            wide: vec!["from", "to", "evidence", "fingerprint"],
            cells: self
                .told()
                .map(|(word, finding)| {
                    vec![
                        word.to_owned(),
                        finding.check.clone(),
                        finding.severity.to_string(),
                        finding.object.clone(),
                        finding.from.join(" "),
                        finding.to.join(" "),
                        finding.evidence.clone(),
                        finding.fingerprint.clone(),
                    ]
                })
                .collect(),
            items: self
                .told()
                .map(|(word, finding)| serde_json::json!({ "change": word, "finding": finding }))
                .collect(),
        })
    }

    fn ok(&self) -> bool {
        self.passed
    }
}
