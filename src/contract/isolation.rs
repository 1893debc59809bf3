//! Wire types of our extension on the check of isolation that a server runs by itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the last check that came to its end said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolationSummary {
    /// Id of the run.
    pub run: String,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_seconds: f64,
    /// Conclusion, as the report says it.
    pub verdict: String,
    /// One sentence that says why.
    pub because: String,
    /// Findings that count, by severity.
    pub findings: BTreeMap<String, u64>,
    /// Findings that count and that the baseline does not have; all that count without one.
    #[serde(default)]
    pub new_findings: u64,
    /// Findings that are waived.
    pub waived: u64,
    /// Checks, by what they came to.
    pub checks: BTreeMap<String, u64>,
    /// Things that were not tested.
    pub not_tested: u64,
    /// Tenants of the fleet.
    pub tenants: u64,
    /// Databases that there are.
    pub databases: u64,
    /// Databases whose catalogues were read.
    pub databases_read: u64,
    /// Logins of tenants that there are.
    pub logins: u64,
    /// Logins of tenants that were tried.
    pub logins_tried: u64,
    /// Attempts across tenants.
    pub probes: u64,
    /// Planted breaches.
    pub planted: u64,
    /// Planted breaches that were found.
    pub detected: u64,
    /// Whether the report is signed.
    pub signed: bool,
}

/// An attempt that gave no report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolationFailure {
    /// When it ended.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Where the check of isolation stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolationStatus {
    /// Whether this server runs it by itself.
    pub enabled: bool,
    /// Time between two runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_seconds: Option<u64>,
    /// Longest time of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Since when a run is under way, on whichever server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub running_since: Option<Timestamp>,
    /// Since when a run is asked for that has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub asked_at: Option<Timestamp>,
    /// When the next run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next_at: Option<Timestamp>,
    /// What the last run that came to its end said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<IsolationSummary>,
    /// The last attempt, when it gave no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<IsolationFailure>,
    /// Age of the last report: time since its run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// True when what the last report says is not to be relied on any longer: it is older than two
    /// periods and the longest run.
    #[serde(default)]
    pub stale: bool,
}

impl IsolationStatus {
    /// Returns the word for what is known now: the verdict of the last report, `stale`, `error`
    /// when the last attempt gave none, `none` before the first.
    pub fn standing(&self) -> &str {
        match (&self.failed, &self.last) {
            (Some(_), _) => "error",
            (None, None) => "none",
            (None, Some(_)) if self.stale => "stale",
            (None, Some(last)) => &last.verdict,
        }
    }
}

/// The last report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolationAnswer {
    /// Where the check stands.
    pub status: IsolationStatus,
    /// The report, as text, so that it is byte by byte what was signed.
    pub report: String,
    /// Its attestation, where the server signs: an in-toto statement in a DSSE envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Value>,
}

/// Body of `POST /v1/admin/isolation/check`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IsolationRequest {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_or_failed_never_reads_as_the_verdict() {
        let last: IsolationSummary = serde_json::from_value(serde_json::json!({
            "run": "r", "startedAt": "2026-01-01T00:00:00Z", "durationSeconds": 1.0,
            "verdict": "holds", "because": "", "findings": {}, "waived": 0, "checks": {},
            "notTested": 0, "tenants": 1, "databases": 1, "databasesRead": 1, "logins": 1,
            "loginsTried": 1, "probes": 1, "planted": 1, "detected": 1, "signed": false
        }))
        .expect("a summary");
        let mut status = IsolationStatus::default();
        assert_eq!(status.standing(), "none");
        status.last = Some(last);
        assert_eq!(status.standing(), "holds");
        status.stale = true;
        assert_eq!(status.standing(), "stale");
        status.failed = Some(IsolationFailure {
            at: Timestamp::UNIX_EPOCH,
            reason: "timed out".into(),
        });
        assert_eq!(status.standing(), "error");
    }
}
