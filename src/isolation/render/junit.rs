//! JUnit: a case per check; refuted is a failure, unproven and skipped are "skipped".

use std::fmt::Write as _;

use super::{escape, reach};
use crate::isolation::model::Verdict;
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
                        format!(
                            "{}: {}: {}: {}\n{}",
                            finding.severity,
                            reach(finding),
                            finding.object,
                            finding.evidence,
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
            Verdict::Holds | Verdict::Limit | Verdict::Waived => {}
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}
