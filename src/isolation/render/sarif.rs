//! SARIF 2.1.0: a rule per check, a result per finding, logical locations.

use serde_json::{Value, json};

use super::reach;
use crate::isolation::catalogue;
use crate::isolation::model::{Finding, Severity, Verdict};
use crate::isolation::report::Isolation;

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "3.0",
        Severity::Info => "0.0",
    }
}

/// Takes out what a viewer might take for markup or for terminal codes.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect::<String>()
        .replace('<', "‹")
}

pub(super) fn render(report: &Isolation) -> String {
    let rules: Vec<Value> = catalogue::all()
        .iter()
        .map(|check| {
            json!({
                "id": check.id,
                "name": check.title,
                "shortDescription": { "text": check.title },
                "fullDescription": { "text": check.claim },
                "help": { "text": format!("{}\n\n{}", check.why, check.remedy),
                          "markdown": format!("{}\n\n```sql\n{}\n```", check.why, check.remedy) },
                "defaultConfiguration": { "level": level(check.severity) },
                "properties": { "security-severity": score(check.severity),
                                "tags": ["security", "tenant-isolation", check.peach] },
            })
        })
        .collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(result)
        .chain(report.limits.iter().chain(&report.notes).map(remark))
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "lerianctl isolation", "version": report.tool_version,
                                  "rules": rules } },
            "automationDetails": { "id": format!("isolation/{}", report.run) },
            "invocations": [{ "executionSuccessful": report.verdict != Verdict::Error,
                              "startTimeUtc": report.started_at.to_string(),
                              "toolExecutionNotifications": notifications(report) }],
            "results": results,
            "properties": {
                "verdict": report.verdict.as_str(),
                "headline": plain(&report.headline()),
                "because": plain(&report.because),
                "source": plain(&report.fleet.source),
                "tenants": report.fleet.tenants.len(),
                "stores": report.fleet.stores,
                "servers": report.servers().iter().map(|server| plain(server)).collect::<Vec<_>>(),
                "coverage": report.covered(),
                "sittings": report.sat(),
                "control": plain(&report.controlled()),
                "uncontrolled": report.control.uncontrolled,
            },
        }],
    });
    format!(
        "{}\n",
        serde_json::to_string_pretty(&document).unwrap_or_default()
    )
}

/// What was not tested, could not be looked at, or was looked at in part.
fn notifications(report: &Isolation) -> Vec<Value> {
    let note =
        |level: &str, text: String| json!({ "level": level, "message": { "text": plain(&text) } });
    let gaps = report
        .not_tested
        .iter()
        .map(|gap| note("note", format!("not tested: {}: {}", gap.what, gap.why)));
    let checks = report.checks.iter().filter_map(|check| {
        let level = match check.verdict {
            Verdict::Error => "error",
            Verdict::Unproven => "warning",
            _ if check.reason.is_empty() => return None,
            _ => "note",
        };
        let mut note = note(level, format!("{}: {}", check.verdict, check.reason));
        note["associatedRule"] = json!({ "id": check.check });
        Some(note)
    });
    let waivers = report
        .unused_waivers
        .iter()
        .map(|waiver| note("note", format!("a waiver matched nothing: {waiver}")));
    gaps.chain(checks).chain(waivers).collect()
}

/// A limit or a note: nothing that somebody has to mend.
fn remark(finding: &Finding) -> Value {
    let mut remark = result(finding);
    remark["kind"] = json!("informational");
    remark["level"] = json!("none");
    remark
}

fn result(finding: &Finding) -> Value {
    let mut result = json!({
        "ruleId": finding.check,
        "level": level(finding.severity),
        "message": { "text": plain(&format!("{}: {}", reach(finding), finding.evidence)) },
        "locations": [{ "logicalLocations": [{
            "fullyQualifiedName": plain(&format!("{}/{}", finding.store, finding.object)) }] }],
        "partialFingerprints": { "lerianctlIsolation/v1": finding.fingerprint },
        "properties": { "remedy": finding.remedy.iter().map(|line| plain(line)).collect::<Vec<_>>(),
                        "security-severity": score(finding.severity) },
        "kind": "fail",
        "baselineState": if finding.known { "unchanged" } else { "new" },
    });
    if let Some(waiver) = finding.waiver.as_ref().filter(|waiver| !waiver.expired) {
        result["suppressions"] = json!([{ "kind": "external",
            "justification": plain(&format!("{} ({}, until {})", waiver.reason, waiver.owner, waiver.expires)) }]);
    }
    if finding.waiver.as_ref().is_some_and(|waiver| waiver.expired) {
        result["properties"]["waiver"] = json!(plain(&finding.waived_by()));
    }
    result
}
