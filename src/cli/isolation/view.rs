//! The report for a terminal: the verdict first, the worst first, one line of remedy each.

use std::fmt::Write as _;

use super::check::IsolationReport;
use crate::isolation::model::{EVERYONE, Finding, Severity, Verdict};
use crate::isolation::report::{ControlState, Isolation};
use crate::output::{Tone, View};

/// Findings that are shown; the rest is counted.
const SHOWN: usize = 40;
/// Findings of each other section that are shown.
const SECTION: usize = 10;
/// Width where nothing is known of the terminal.
pub(super) const WIDTH: usize = 100;

/// Writes the whole report.
pub(super) fn write(report: &IsolationReport, out: &mut View) {
    let outcome = &report.outcome;
    let width = out.width.map_or(WIDTH, usize::from).max(40);
    if let Some(served) = &report.served {
        if let Some(doubt) = served.doubt() {
            for line in wrapped(&doubt, width) {
                out.paint(Tone::Bad, line).line();
            }
        }
        let text = format!(
            "Checked by {} itself, {} s ago",
            served.server, served.age_seconds
        );
        paragraph(out, width, "", &text);
    }
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
    waived(outcome, out, width);
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
    paragraph(out, width, "", &outcome.because);
    let mut parts = vec![
        format!("{} tenants", fleet.tenants.len()),
        format!("{} stores", fleet.stores),
    ];
    parts.extend(outcome.servers());
    paragraph(out, width, "", &parts.join(", "));
    paragraph(out, width, "", &outcome.covered());
    if let Some(sat) = outcome.sat() {
        paragraph(out, width, "", &sat);
    }
    let tone = match outcome.control.state {
        ControlState::Detected => Tone::Good,
        _ => Tone::Bad,
    };
    for line in wrapped(&outcome.controlled(), width) {
        out.paint(tone, line).line();
    }
}

/// Lists what somebody answers for.
fn waived(outcome: &Isolation, out: &mut View, width: usize) {
    let count = outcome.waived().count();
    if count == 0 {
        return;
    }
    out.line();
    paragraph(out, width, "", &format!("{count} findings are waived"));
    for finding in outcome.waived().take(SECTION) {
        let text = format!(
            "{} {}: {}; {}",
            finding.check,
            finding.object,
            reach(finding),
            finding.waived_by()
        );
        paragraph(out, width, "  ", &text);
    }
    if count > SECTION {
        paragraph(out, width, "  ", &format!("… and {} more", count - SECTION));
    }
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
    if finding.waiver.is_some() {
        paragraph(out, width, "         ", &finding.waived_by());
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
    for finding in findings.iter().take(SECTION) {
        let text = format!("{} {}: {}", finding.check, finding.object, finding.evidence);
        paragraph(out, width, "  ", &text);
    }
    if findings.len() > SECTION {
        let more = findings.len() - SECTION;
        paragraph(out, width, "  ", &format!("… and {more} more"));
    }
}

fn gaps(outcome: &Isolation, out: &mut View, width: usize) {
    out.line().paint(Tone::Strong, "What was not tested").line();
    for (what, why) in outcome.gaps() {
        paragraph(out, width, "  ", &format!("{what}: {why}"));
    }
    if !outcome.control.uncontrolled.is_empty() {
        let text = format!(
            "no breach was planted for {}",
            outcome.control.uncontrolled.join(", ")
        );
        paragraph(out, width, "  ", &text);
    }
    for (checks, why) in outcome.in_part() {
        paragraph(out, width, "  ", &format!("{checks} in part: {why}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::model::Severity;
    use crate::isolation::render::tests::{EVERYWHERE, marked};
    use crate::isolation::verdict::Bar;

    #[test]
    fn a_terminal_says_what_the_other_forms_say() {
        let bar = Bar {
            fail_on: Severity::Low,
            only_new: false,
        };
        let report = IsolationReport::new(marked(), bar, false);
        let mut out = View::new(Some(10_000), false);
        write(&report, &mut out);
        let text = out.into_text();
        for word in EVERYWHERE {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
