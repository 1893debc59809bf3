//! The report for a terminal: the verdict first, the worst first, one line of remedy each.

use std::fmt::Write as _;

use super::check::IsolationReport;
use crate::isolation::model::{EVERYONE, Finding, Severity, Verdict};
use crate::isolation::report::{ControlState, Isolation};
use crate::output::{Tone, View};

/// Findings that are shown; the rest is counted.
const SHOWN: usize = 40;
/// Width where nothing is known of the terminal.
pub(super) const WIDTH: usize = 100;

/// Writes the whole report.
pub(super) fn write(report: &IsolationReport, out: &mut View) {
    let outcome = &report.outcome;
    let width = out.width.map_or(WIDTH, usize::from).max(40);
    headline(outcome, out, width);
    let shown = outcome.findings.iter().filter(|finding| finding.counts());
    for finding in shown.clone().take(SHOWN) {
        out.line();
        one(finding, out, width);
    }
    let more = shown.count().saturating_sub(SHOWN);
    if more > 0 {
        out.line()
            .plain(format!("… and {more} more; see -o json"))
            .line();
    }
    let waived = outcome
        .findings
        .iter()
        .filter(|finding| !finding.counts())
        .count();
    if waived > 0 {
        out.line();
        paragraph(out, width, "", &format!("{waived} findings are waived"));
    }
    section(out, width, "What no setting changes", &outcome.limits);
    section(out, width, "Noted", &outcome.notes);
    gaps(outcome, out, width);
    footer(report, out, width);
}

fn headline(outcome: &Isolation, out: &mut View, width: usize) {
    let tone = match outcome.verdict {
        Verdict::Refuted | Verdict::Error => Tone::Bad,
        Verdict::Unproven => Tone::Warn,
        _ => Tone::Good,
    };
    for line in wrapped(&outcome.headline(), width) {
        out.paint(tone, line).line();
    }
    let fleet = &outcome.fleet;
    let clusters = fleet
        .clusters
        .iter()
        .map(|cluster| format!("PostgreSQL {} at {}", cluster.version, cluster.address));
    let others = fleet
        .servers
        .iter()
        .map(|server| format!("{} {} at {}", server.kind, server.version, server.address));
    let servers: Vec<String> = clusters.chain(others).collect();
    paragraph(out, width, "", &outcome.because);
    let mut parts = vec![
        format!("{} tenants", fleet.tenants.len()),
        format!("{} stores", fleet.stores),
    ];
    parts.extend(servers);
    let text = parts.join(", ");
    paragraph(out, width, "", &text);
    paragraph(out, width, "", &covered(outcome));
    let control = &outcome.control;
    let (tone, text) = match control.state {
        ControlState::Detected => (
            Tone::Good,
            format!("Control: {} planted breaches, all found", control.planted),
        ),
        ControlState::Missed => (
            Tone::Bad,
            format!(
                "Control: {} of {} planted breaches found, {} missed",
                control.detected,
                control.planted,
                control.missed.join(", ")
            ),
        ),
        ControlState::Impossible => (Tone::Bad, format!("NO CONTROL: {}", control.reason)),
        ControlState::Off => (
            Tone::Bad,
            "NO CONTROL: nothing was planted, so no silence here proves anything".into(),
        ),
    };
    for line in wrapped(&text, width) {
        out.paint(tone, line).line();
    }
}

/// Says how much was looked at.
pub(super) fn covered(outcome: &Isolation) -> String {
    let coverage = &outcome.coverage;
    let live = if coverage.probes == 0 && coverage.logins_tried == 0 {
        "live: nothing was tried".to_owned()
    } else if coverage.exhaustive {
        format!(
            "live: every pair, {} probes by {} of {} logins",
            coverage.probes, coverage.logins_tried, coverage.logins
        )
    } else {
        format!(
            "live: {} derangements, {} probes by {} of {} logins, seed {}; breaches of more than {:.2} % of pairs are missed with less than 5 %",
            coverage.derangements,
            coverage.probes,
            coverage.logins_tried,
            coverage.logins,
            coverage.seed,
            coverage.bound * 100.0
        )
    };
    format!(
        "Coverage: catalogues: all {} pairs, {} of {} databases; {live}",
        coverage.pairs, coverage.databases_read, coverage.databases
    )
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Critical | Severity::High => Tone::Bad,
        Severity::Medium => Tone::Warn,
        Severity::Low | Severity::Info => Tone::Dim,
    }
}

pub(super) fn names(list: &[String]) -> String {
    const SOME: usize = 5;
    if list.iter().any(|name| name == EVERYONE) {
        return "every tenant".into();
    }
    let mut text = list
        .iter()
        .take(SOME)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if list.len() > SOME {
        let _ = write!(text, " and {} more", list.len() - SOME);
    }
    text
}

/// Says who reaches whom.
pub(super) fn reach(finding: &Finding) -> String {
    let from = if finding.from.is_empty() {
        finding.roles.join(", ")
    } else {
        names(&finding.from)
    };
    match (from.as_str(), finding.to.is_empty()) {
        ("", true) => String::new(),
        ("", false) => names(&finding.to),
        (from, true) => from.to_owned(),
        (from, false) => format!("{from} -> {}", names(&finding.to)),
    }
}

fn one(finding: &Finding, out: &mut View, width: usize) {
    let mark = if finding.known { " (known)" } else { "" };
    out.paint(tone(finding.severity), format!("{:<8}", finding.severity))
        .plain(" ");
    let title = format!("{} · {}{mark}", finding.check, finding.title);
    let mut lines = wrapped(&title, width.saturating_sub(9)).into_iter();
    out.paint(Tone::Strong, lines.next().unwrap_or_default())
        .line();
    for line in lines {
        out.plain(" ".repeat(9)).paint(Tone::Strong, line).line();
    }
    let reach = reach(finding);
    if !reach.is_empty() {
        paragraph(out, width, "         ", &reach);
    }
    paragraph(
        out,
        width,
        "         ",
        &format!("{}: {}", finding.object, finding.evidence),
    );
    if let Some(waiver) = &finding.waiver {
        let text = format!("its waiver ended on {} ({})", waiver.expires, waiver.owner);
        paragraph(out, width, "         ", &text);
    }
    if let Some(remedy) = finding.remedy.iter().find(|line| !line.starts_with('\\')) {
        let more = match finding.remedy.len() {
            0 | 1 => String::new(),
            _ => format!("  (lerianctl isolation explain {})", finding.check),
        };
        // Whole, so that it can be copied.
        out.plain("         ")
            .paint(Tone::Good, format!("fix: {remedy}"))
            .paint(Tone::Dim, more)
            .line();
    } else {
        let text = format!("fix: lerianctl isolation explain {}", finding.check);
        out.plain("         ").paint(Tone::Good, text).line();
    }
}

fn section(out: &mut View, width: usize, title: &str, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    out.line().paint(Tone::Strong, title).line();
    for finding in findings.iter().take(10) {
        let text = format!("{} {}: {}", finding.check, finding.object, finding.evidence);
        paragraph(out, width, "  ", &text);
    }
    if findings.len() > 10 {
        paragraph(
            out,
            width,
            "  ",
            &format!("… and {} more", findings.len() - 10),
        );
    }
}

fn gaps(outcome: &Isolation, out: &mut View, width: usize) {
    out.line().paint(Tone::Strong, "What was not tested").line();
    for gap in &outcome.not_tested {
        paragraph(out, width, "  ", &format!("{}: {}", gap.what, gap.why));
    }
    let sampled = outcome
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Unproven);
    for check in sampled {
        paragraph(
            out,
            width,
            "  ",
            &format!("{} in part: {}", check.check, check.reason),
        );
    }
    for waiver in &outcome.unused_waivers {
        paragraph(
            out,
            width,
            "  ",
            &format!("a waiver matched nothing: {waiver}"),
        );
    }
}

fn footer(report: &IsolationReport, out: &mut View, width: usize) {
    let outcome = &report.outcome;
    let count = |verdict| {
        outcome
            .checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let counts: Vec<String> = Verdict::ALL
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} {verdict}", count(verdict)))
        .collect();
    out.line();
    let text = format!(
        "{} checks: {} · {:.1} s · run {}",
        outcome.checks.len(),
        counts.join(", "),
        outcome.duration_seconds,
        outcome.run
    );
    for line in wrapped(&text, width) {
        out.paint(Tone::Dim, line).line();
    }
}

pub(super) fn paragraph(out: &mut View, width: usize, indent: &str, text: &str) {
    for line in wrapped(text, width.saturating_sub(indent.len())) {
        out.plain(indent).plain(line).line();
    }
}

/// Breaks `text` at spaces into lines of at most `width` columns; longer words stay whole.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first line");
        let long = crate::output::console::width_of(line) + crate::output::console::width_of(word);
        if !line.is_empty() && long + 1 > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
