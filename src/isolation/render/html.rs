//! One page: no scripts, nothing to load, readable from a file, printed and in the dark.

use std::fmt::Write as _;

use super::{escape, reach};
use crate::isolation::catalogue;
use crate::isolation::model::{Finding, Severity, Verdict};
use crate::isolation::report::Isolation;

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#57606a;--line:#d0d7de;--bad:#b3001b;\
--high:#a34100;--medium:#7a5b00;--low:#335c85;--good:#176b32;--cell:#e8f3ec}\
@media(prefers-color-scheme:dark){:root{--bg:#0f1317;--fg:#e6e9ec;--dim:#a3acb5;--line:#39424c;\
--bad:#ff8a8a;--high:#ffab70;--medium:#e6c35c;--low:#8fbfee;--good:#7ed99a;--cell:#1d2b23}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:70rem;padding:1.5rem;background:var(--bg);\
color:var(--fg);font:16px/1.5 system-ui,sans-serif}h1{font-size:1.7rem;margin:.2em 0}\
h2{margin-top:2em;border-bottom:1px solid var(--line)}p{max-width:46rem}.dim{color:var(--dim)}\
.refuted,.error,.critical{color:var(--bad)}.high{color:var(--high)}.medium,.unproven{color:var(--medium)}\
.low,.info{color:var(--low)}.holds{color:var(--good)}.tag{font-weight:700;text-transform:uppercase;\
font-size:.8rem}article{border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;margin:1rem 0;\
break-inside:avoid}article h3{margin:0;font-size:1.05rem}pre{overflow-x:auto;border:1px solid \
var(--line);padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}table{border-collapse:collapse;\
width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);\
vertical-align:top}svg{max-width:100%;height:auto;border:1px solid var(--line)}\
fieldset{border:1px solid var(--line);border-radius:6px;margin:1rem 0}label{margin-right:1.2rem;\
white-space:nowrap}summary{cursor:pointer}\
@media print{:root{--bg:#fff;--fg:#000;--dim:#333}body{max-width:none;padding:0}details>*{display:block}\
fieldset{display:none}}";

pub(super) fn render(report: &Isolation) -> String {
    let mut out = String::new();
    let title = escape(&report.headline());
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1 class=\"{}\">{title}</h1>\n<p>{}</p>\n",
        report.verdict,
        escape(&report.because)
    );
    facts(report, &mut out);
    matrix(report, &mut out);
    findings(report, &mut out);
    for (title, list) in [
        ("What no setting changes", &report.limits),
        ("Noted", &report.notes),
    ] {
        if !list.is_empty() {
            let _ = writeln!(out, "<section>\n<h2>{title}</h2>\n<ul>");
            for finding in list {
                let _ = writeln!(
                    out,
                    "<li>{}: {}: {}</li>",
                    finding.check,
                    escape(&finding.object),
                    escape(&finding.evidence)
                );
            }
            out.push_str("</ul>\n</section>\n");
        }
    }
    out.push_str("<section>\n<h2>What was not tested</h2>\n<ul>\n");
    for gap in &report.not_tested {
        let _ = writeln!(out, "<li>{}: {}</li>", escape(&gap.what), escape(&gap.why));
    }
    for waiver in &report.unused_waivers {
        let _ = writeln!(out, "<li>A waiver matched nothing: {}</li>", escape(waiver));
    }
    out.push_str("</ul>\n</section>\n");
    checks(report, &mut out);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn facts(report: &Isolation, out: &mut String) {
    let mut control = report.controlled();
    if !report.control.uncontrolled.is_empty() {
        let _ = write!(
            control,
            "; nothing could be planted for {}",
            report.control.uncontrolled.join(", ")
        );
    }
    let rows = [
        (
            "Fleet",
            format!(
                "{} tenants, {} stores, {}",
                report.fleet.tenants.len(),
                report.fleet.stores,
                report.fleet.source
            ),
        ),
        ("Servers", report.servers().join(", ")),
        ("Looked at", report.covered()),
        ("Sittings", report.sat().unwrap_or_else(|| "one".into())),
        ("Planted", control),
        (
            "Run",
            format!(
                "{} at {}, {:.1} s, lerianctl {}, inventory {}",
                report.run,
                report.started_at,
                report.duration_seconds,
                report.tool_version,
                report.fleet.inventory
            ),
        ),
    ];
    out.push_str("<table>\n");
    for (name, value) in rows {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>",
            escape(&value)
        );
    }
    out.push_str("</table>\n");
}

/// Draws tenants × tenants; cells side by side are one stroke, so that the picture stays small.
fn matrix(report: &Isolation, out: &mut String) {
    let n = report.fleet.tenants.len();
    if n == 0 {
        return;
    }
    let cells = report.matrix();
    let open = cells.len();
    let _ = writeln!(
        out,
        "<section>\n<h2>Who reaches whom</h2>\n<p>{open} of {} pairs of tenants are refuted. A row is the \
         tenant that reaches, a column the one that is reached, in the order of their names.</p>",
        n * n.saturating_sub(1)
    );
    let _ = writeln!(
        out,
        "<svg role=\"img\" viewBox=\"0 0 {n} {n}\" width=\"640\" aria-label=\"{open} refuted pairs of tenants\">\
         <rect width=\"{n}\" height=\"{n}\" fill=\"var(--cell)\"/>"
    );
    for severity in Severity::ALL {
        let mut path = String::new();
        let mut row: Option<(usize, usize, usize)> = None;
        for ((from, to), _) in cells.iter().filter(|(_, worst)| **worst == severity) {
            match row {
                Some((y, x, length)) if y == *from && x + length == *to => {
                    row = Some((y, x, length + 1));
                }
                other => {
                    if let Some((y, x, length)) = other {
                        let _ = write!(path, "M{x} {y}h{length}v1h-{length}z");
                    }
                    row = Some((*from, *to, 1));
                }
            }
        }
        if let Some((y, x, length)) = row {
            let _ = write!(path, "M{x} {y}h{length}v1h-{length}z");
        }
        if !path.is_empty() {
            let color = match severity {
                Severity::Critical => "bad",
                Severity::High => "high",
                Severity::Medium => "medium",
                Severity::Low | Severity::Info => "low",
            };
            let _ = writeln!(
                out,
                "<path fill=\"var(--{color})\" d=\"{path}\"><title>{severity}</title></path>"
            );
        }
    }
    out.push_str("</svg>\n");
    let worst = Severity::ALL.into_iter().filter_map(|severity| {
        let count = cells.values().filter(|worst| **worst == severity).count();
        (count > 0).then(|| format!("{count} {severity}"))
    });
    let words: Vec<String> = worst.collect();
    let text = if words.is_empty() {
        "No pair is refuted.".to_owned()
    } else {
        format!("Pairs by their worst finding: {}.", words.join(", "))
    };
    let _ = writeln!(out, "<p>{text}</p>\n</section>");
}

fn findings(report: &Isolation, out: &mut String) {
    const SHOWN: usize = 300;
    let _ = writeln!(out, "<section>\n<h2>Findings</h2>");
    if report.findings.is_empty() {
        out.push_str("<p>None.</p>\n");
    }
    let shown = report.findings.iter().take(SHOWN);
    filters(
        "Findings to show",
        Severity::ALL
            .map(|severity| {
                let counts = shown
                    .clone()
                    .filter(|finding| finding.counts() && finding.severity == severity);
                (severity.as_str(), counts.count())
            })
            .into_iter()
            .chain([(
                "waived",
                shown.clone().filter(|finding| !finding.counts()).count(),
            )]),
        out,
    );
    for finding in report.findings.iter().take(SHOWN) {
        one(finding, out);
    }
    if report.findings.len() > SHOWN {
        let _ = writeln!(
            out,
            "<p>… and {} more in the JSON report.</p>",
            report.findings.len() - SHOWN
        );
    }
    out.push_str("</section>\n");
}

/// Boxes that hide what is not wanted, without a script: everything is shown where they do nothing.
fn filters<'a>(title: &str, words: impl Iterator<Item = (&'a str, usize)>, out: &mut String) {
    let words: Vec<(&str, usize)> = words.filter(|(_, count)| *count > 0).collect();
    if words.len() < 2 {
        return;
    }
    let _ = writeln!(out, "<fieldset><legend>{title}</legend>");
    for (word, count) in &words {
        let _ = writeln!(
            out,
            "<label><input type=\"checkbox\" id=\"show-{word}\" checked> {word} ({count})</label>"
        );
    }
    out.push_str("</fieldset>\n<style>");
    for (word, _) in &words {
        let _ = write!(
            out,
            "@media screen{{main:has(#show-{word}:not(:checked)) .is-{word}{{display:none}}}}"
        );
    }
    out.push_str("</style>\n");
}

fn one(finding: &Finding, out: &mut String) {
    let severity = finding.severity;
    let shown_as = if finding.counts() {
        severity.as_str()
    } else {
        "waived"
    };
    let _ = writeln!(
        out,
        "<article class=\"is-{shown_as}\">\n<h3><span class=\"tag {severity}\">{severity}</span> {} · {}</h3>\n<p>{}</p>\n\
         <p><b>{}</b> on {}: {}</p>",
        finding.check,
        escape(&finding.title),
        escape(&reach(finding)),
        escape(&finding.object),
        escape(&finding.store),
        escape(&finding.evidence)
    );
    if finding.waiver.is_some() {
        let _ = writeln!(out, "<p class=\"dim\">{}</p>", escape(&finding.waived_by()));
    }
    if finding.known {
        out.push_str("<p class=\"dim\">The baseline has it already.</p>\n");
    }
    if !finding.remedy.is_empty() {
        let _ = writeln!(out, "<pre>{}</pre>", escape(&finding.remedy.join("\n")));
    }
    if let Some(check) = catalogue::find(&finding.check) {
        let _ = writeln!(
            out,
            "<details><summary>Why it matters</summary><p>{}</p></details>",
            escape(&check.why)
        );
    }
    out.push_str("</article>\n");
}

fn checks(report: &Isolation, out: &mut String) {
    out.push_str("<section>\n<h2>Checks</h2>\n");
    filters(
        "Checks to show",
        Verdict::ALL.iter().map(|verdict| {
            let count = report
                .checks
                .iter()
                .filter(|check| check.verdict == *verdict);
            (check_word(*verdict), count.count())
        }),
        out,
    );
    out.push_str(
        "<table>\n<tr><th scope=\"col\">Check</th><th scope=\"col\">Verdict</th>\
         <th scope=\"col\">Looked at</th><th scope=\"col\">Remark</th></tr>\n",
    );
    for check in &report.checks {
        let looked = match check.verdict {
            Verdict::Skipped => String::new(),
            _ => format!("{} of {}", check.looked_at, check.out_of),
        };
        let _ = writeln!(
            out,
            "<tr class=\"is-{}\"><td>{} · {}</td><td class=\"{v}\">{v}</td><td>{looked}</td><td>{}</td></tr>",
            check_word(check.verdict),
            check.check,
            escape(&check.title),
            escape(&check.reason),
            v = check.verdict
        );
    }
    out.push_str("</table>\n</section>\n");
}

/// Returns the word of a verdict in the boxes; "waived" is one of findings already.
fn check_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Waived => "waived-checks",
        other => other.as_str(),
    }
}
