//! SARIF 2.1.0: a rule per check, a result per finding, logical locations.

use serde_json::{Value, json};

use super::reach;
use crate::isolation::catalogue;
use crate::isolation::model::{Finding, Severity};
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
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "lerianctl isolation", "version": report.tool_version,
                                  "rules": rules } },
            "automationDetails": { "id": format!("isolation/{}", report.run) },
            "invocations": [{ "executionSuccessful": true,
                              "startTimeUtc": report.started_at.to_string() }],
            "results": results,
        }],
    });
    format!(
        "{}\n",
        serde_json::to_string_pretty(&document).unwrap_or_default()
    )
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
        "baselineState": if finding.known { "unchanged" } else { "new" },
    });
    if let Some(waiver) = finding.waiver.as_ref().filter(|waiver| !waiver.expired) {
        result["suppressions"] = json!([{ "kind": "external",
            "justification": plain(&format!("{} ({}, until {})", waiver.reason, waiver.owner, waiver.expires)) }]);
    }
    result
}
