//! The check of isolation that servers run by themselves: whose turn it is, and what came of it.

use std::time::Duration;

use jiff::Timestamp;

use crate::contract::audit::AuditRecord;
use crate::contract::isolation::{IsolationFailure, IsolationSummary};

/// How long a run stays with a server that does not renew it.
pub(crate) const LEASE: Duration = Duration::from_secs(20);
/// Runs in a row that may be taken over at once from servers that died with them; later ones wait
/// for their time, so that a run that kills servers does not kill all of them.
pub(crate) const TAKEN_OVER: i64 = 2;

/// What is known of the check.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CheckState {
    /// Run that is under way.
    pub(crate) holder: Option<String>,
    /// When the last run began, whatever came of it.
    pub(crate) begun_at: Option<Timestamp>,
    /// Since when a run is asked for that has not begun.
    pub(crate) asked_at: Option<Timestamp>,
    /// What the last report said.
    pub(crate) last: Option<IsolationSummary>,
    /// Why the last attempt gave no report, if so.
    pub(crate) failed: Option<IsolationFailure>,
}

/// The last report and its attestation, as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredReport {
    pub(crate) report: String,
    pub(crate) attestation: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(crate) enum CheckEnd {
    /// With a report.
    Done(Box<IsolationSummary>, StoredReport),
    /// Without one.
    Failed(IsolationFailure),
    /// Given up because the server stops: somebody else may begin it at once.
    Stopped,
}

/// How a run ended, and what the audit log says of it.
#[derive(Debug, Clone)]
pub(crate) struct CheckDone {
    /// The run.
    pub(crate) run: String,
    /// How it ended.
    pub(crate) end: CheckEnd,
    /// What the audit log says.
    pub(crate) audit: Vec<AuditRecord>,
}
