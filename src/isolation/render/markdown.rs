//! Markdown for a pull request: the verdict, then the findings, at most 60 kB.

use std::fmt::Write as _;

use super::reach;
use crate::isolation::report::Isolation;

/// Longest text that a pull request takes, about.
const LONGEST: usize = 60_000;

/// Returns text that no Markdown takes for anything else.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() => {}
            c if "\\`*_{}[]()#+!|~".contains(c) => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Returns lines as an indented block, which nothing inside can end.
fn block(lines: &[String]) -> String {
    let mut out = String::new();
    for line in lines.iter().flat_map(|line| line.lines()) {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(out, "      {}", line.replace('<', "‹"));
    }
    out
}

pub(super) fn render(report: &Isolation) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "# {}\n\n{}\n",
        plain(&report.headline()),
        plain(&report.because)
    );
    let _ = writeln!(
        out,
        "{} tenants, {} stores; run {} at {}\n",
        report.fleet.tenants.len(),
        report.fleet.stores,
        report.run,
        report.started_at
    );
    let shown = report.findings.iter().filter(|finding| finding.counts());
    let mut left = shown.clone().count();
    if left > 0 {
        out.push_str("## Findings\n\n");
    }
    for finding in shown {
        if out.len() > LONGEST - 8_000 {
            let _ = writeln!(out, "… and {left} more\n");
            break;
        }
        left -= 1;
        let _ = writeln!(
            out,
            "- **{}** {} · {}: {}  \n  {}: {}\n\n{}",
            finding.severity,
            finding.check,
            plain(&finding.title),
            plain(&reach(finding)),
            plain(&finding.object),
            plain(&finding.evidence),
            block(&finding.remedy)
        );
    }
    out.push_str("## What was not tested\n\n");
    for gap in &report.not_tested {
        if out.len() > LONGEST - 1_000 {
            break;
        }
        let _ = writeln!(out, "- {}: {}", plain(&gap.what), plain(&gap.why));
    }
    out
}
