//! JUnit: a case per check; refuted is a failure, unproven and skipped are "skipped".

use std::fmt::Write as _;

use super::{escape, reach};
use crate::isolation::model::{Finding, Verdict};
use crate::isolation::report::Isolation;

pub(super) fn render(report: &Isolation) -> String {
    let count = |verdicts: &[Verdict]| {
        report
            .checks
            .iter()
            .filter(|check| verdicts.contains(&check.verdict))
            .count()
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites>\n<testsuite name=\"isolation\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\" timestamp=\"{}\">",
        report.checks.len(),
        count(&[Verdict::Refuted]),
        count(&[Verdict::Error]),
        count(&[Verdict::Unproven, Verdict::Skipped]),
        report.duration_seconds,
        report.started_at
    );
    out.push_str("<properties>\n");
    for (name, value) in properties(report) {
        let _ = writeln!(
            out,
            "<property name=\"{name}\" value=\"{}\"/>",
            escape(&value)
        );
    }
    out.push_str("</properties>\n");
    for check in &report.checks {
        let _ = write!(
            out,
            "<testcase classname=\"isolation.{}\" name=\"{} · {}\">",
            escape(&check.family),
            escape(&check.check),
            escape(&check.title)
        );
        match check.verdict {
            Verdict::Refuted => {
                let findings = report
                    .findings
                    .iter()
                    .filter(|finding| finding.check == check.check && finding.counts());
                let lines: Vec<String> = findings
                    .map(|finding| {
                        let known = if finding.known { " (known)" } else { "" };
                        format!(
                            "{}{known}: {}: {} on {}: {}\n{}\n{}",
                            finding.severity,
                            reach(finding),
                            finding.object,
                            finding.store,
                            finding.evidence,
                            finding.waived_by(),
                            finding.remedy.join("\n")
                        )
                    })
                    .collect();
                let _ = write!(
                    out,
                    "<failure message=\"{} counter-examples\">{}</failure>",
                    lines.len(),
                    escape(&lines.join("\n\n"))
                );
            }
            Verdict::Error => {
                let _ = write!(out, "<error message=\"{}\"/>", escape(&check.reason));
            }
            Verdict::Unproven | Verdict::Skipped => {
                let text = format!("{}: {}", check.verdict, check.reason);
                let _ = write!(out, "<skipped message=\"{}\"/>", escape(&text));
            }
            Verdict::Holds | Verdict::Limit | Verdict::Waived => {
                if !check.reason.is_empty() {
                    let _ = write!(out, "<system-out>{}</system-out>", escape(&check.reason));
                }
            }
        }
        out.push_str("</testcase>\n");
    }
    let _ = writeln!(
        out,
        "<system-out>{}</system-out>",
        escape(&besides(report).join("\n"))
    );
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

/// Facts of the whole run.
fn properties(report: &Isolation) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("verdict", report.verdict.to_string()),
        ("headline", report.headline()),
        ("because", report.because.clone()),
        ("source", report.fleet.source.clone()),
        ("tenants", report.fleet.tenants.len().to_string()),
        ("stores", report.fleet.stores.to_string()),
    ];
    let servers = report.servers().into_iter();
    properties.extend(servers.map(|server| ("server", server)));
    properties.extend([
        ("coverage", report.covered()),
        ("sittings", report.sat().unwrap_or_default()),
        ("control", report.controlled()),
        ("run", report.run.clone()),
        ("toolVersion", report.tool_version.clone()),
    ]);
    properties
}

/// What is neither a failure nor an error, line by line.
fn besides(report: &Isolation) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in report.waived() {
        lines.push(format!(
            "waived: {} {}: {}: {}: {}",
            finding.check,
            reach(finding),
            finding.object,
            finding.evidence,
            finding.waived_by()
        ));
    }
    for (word, findings) in [("limit", &report.limits), ("note", &report.notes)] {
        let line = |f: &Finding| format!("{word}: {} {}: {}", f.check, f.object, f.evidence);
        lines.extend(findings.iter().map(line));
    }
    for gap in &report.not_tested {
        lines.push(format!("not tested: {}: {}", gap.what, gap.why));
    }
    if !report.control.uncontrolled.is_empty() {
        let checks = report.control.uncontrolled.join(", ");
        lines.push(format!("no breach was planted for {checks}"));
    }
    for waiver in &report.unused_waivers {
        lines.push(format!("a waiver matched nothing: {waiver}"));
    }
    lines
}
