//! Markdown for a pull request: the verdict, then the findings, at most 60 kB.

use std::fmt::Write as _;

use super::reach;
use crate::isolation::report::Isolation;

/// Longest text that a pull request takes, about.
const LONGEST: usize = 60_000;
/// What the sections after the findings take of it, about.
const REST: usize = 28_000;
/// Longest section of those, about.
const SECTION: usize = 5_000;

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
    let mut facts = vec![
        format!(
            "{} tenants, {} stores, {}",
            report.fleet.tenants.len(),
            report.fleet.stores,
            report.fleet.source
        ),
        report.servers().join(", "),
        report.covered(),
        report.sat().unwrap_or_default(),
        report.controlled(),
        format!(
            "Run {} at {}, lerianctl {}",
            report.run, report.started_at, report.tool_version
        ),
    ];
    facts.retain(|fact| !fact.is_empty());
    for fact in facts {
        let _ = writeln!(out, "- {}", plain(&fact));
    }
    out.push('\n');
    let shown = report.findings.iter().filter(|finding| finding.counts());
    let mut left = shown.clone().count();
    if left > 0 {
        out.push_str("## Findings\n\n");
    }
    for finding in shown {
        if out.len() > LONGEST - REST {
            let _ = writeln!(out, "and {left} more\n");
            break;
        }
        left -= 1;
        let known = if finding.known { " (known)" } else { "" };
        let _ = write!(
            out,
            "- **{}** {} · {}{known}: {}  \n  {} on {}: {}",
            finding.severity,
            finding.check,
            plain(&finding.title),
            plain(&reach(finding)),
            plain(&finding.object),
            plain(&finding.store),
            plain(&finding.evidence)
        );
        if finding.waiver.is_some() {
            let _ = write!(out, "  \n  {}", plain(&finding.waived_by()));
        }
        let _ = writeln!(out, "\n\n{}", block(&finding.remedy));
    }
    let waived = report.waived().map(|finding| {
        format!(
            "{} {} · {}: {}: {}: {}",
            finding.severity,
            finding.check,
            reach(finding),
            finding.object,
            finding.evidence,
            finding.waived_by()
        )
    });
    list(&mut out, "Waived", waived);
    for (title, findings) in [
        ("What no setting changes", &report.limits),
        ("Noted", &report.notes),
    ] {
        let lines = findings
            .iter()
            .map(|f| format!("{} {}: {}", f.check, f.object, f.evidence));
        list(&mut out, title, lines);
    }
    let gaps = report.gaps();
    let gaps = gaps.iter().map(|(what, why)| format!("{what}: {why}"));
    let control = &report.control.uncontrolled;
    let control =
        (!control.is_empty()).then(|| format!("no breach was planted for {}", control.join(", ")));
    let waivers = report.unused_waivers.iter();
    let waivers = waivers.map(|waiver| format!("a waiver matched nothing: {waiver}"));
    let in_part = report.in_part();
    let in_part = in_part
        .iter()
        .map(|(checks, why)| format!("{checks} in part: {why}"));
    let rest = gaps.chain(control).chain(in_part).chain(waivers);
    list(&mut out, "What was not tested", rest);
    let checks = report.checks.iter().map(|check| {
        let reason = match check.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        format!("{} {}{reason}", check.check, check.verdict)
    });
    list(&mut out, "Checks", checks);
    out
}

/// Writes a section, as much of it as there is room for; none when it is empty.
fn list(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "## {title}\n");
    let end = (out.len() + SECTION).min(LONGEST);
    while let Some(line) = lines.next() {
        let _ = writeln!(out, "- {}", plain(&line));
        if out.len() > end && lines.peek().is_some() {
            let _ = writeln!(out, "- and {} more", lines.count());
            break;
        }
    }
    out.push('\n');
}
