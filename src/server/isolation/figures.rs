//! Figures of the check of isolation. What the last report says comes from the registry, so that
//! every server on it shows the same.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::contract::isolation::IsolationStatus;
use crate::isolation::model::{Severity, Verdict};
use crate::server::registry::isolation::CheckEnd;

/// What can be known now: the verdicts of a run, and why none is to be relied on.
const STANDINGS: [&str; 7] = [
    "holds", "waived", "refuted", "unproven", "error", "stale", "none",
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfVerdict {
    verdict: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfSeverity {
    severity: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Covered {
    of: &'static str,
}

type Real = Gauge<f64, AtomicU64>;

/// Figures of the check.
#[derive(Debug, Default)]
pub(crate) struct IsolationFigures {
    standing: Family<OfVerdict, Gauge>,
    findings: Family<OfSeverity, Gauge>,
    checks: Family<OfVerdict, Gauge>,
    new: Gauge,
    waived: Gauge,
    not_tested: Gauge,
    tenants: Gauge,
    coverage: Family<Covered, Real>,
    probes: Gauge,
    missed: Gauge,
    began: Gauge,
    age: Gauge,
    duration: Real,
    running: Gauge,
    ended: Family<Outcome, Counter>,
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl IsolationFigures {
    /// Makes the figures appear.
    pub(crate) fn register(&self, figures: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            figures.register(format!("isolation_{name}"), help, gauge.clone());
        };
        gauge(
            "new_findings",
            "Findings of the last check that count and that the baseline does not have",
            &self.new,
        );
        gauge(
            "waived",
            "Findings of the last check that are waived",
            &self.waived,
        );
        gauge(
            "not_tested",
            "Things that the last check did not test",
            &self.not_tested,
        );
        gauge("tenants", "Tenants of the fleet", &self.tenants);
        gauge(
            "probes",
            "Attempts across tenants in the last check",
            &self.probes,
        );
        gauge(
            "planted_breaches_missed",
            "Planted breaches that the last check did not find",
            &self.missed,
        );
        gauge(
            "last_run_timestamp_seconds",
            "When the check began that the last report is of; 0 before the first",
            &self.began,
        );
        gauge(
            "last_run_age_seconds",
            "Time since then; since 1970 before the first",
            &self.age,
        );
        gauge(
            "running",
            "1 while a check is under way, on whichever server",
            &self.running,
        );
        figures.register(
            "isolation_verdict",
            "1 for what is known now: what the last check concluded, or why that is not to be relied on",
            self.standing.clone(),
        );
        figures.register(
            "isolation_findings",
            "Findings of the last check that count, by severity",
            self.findings.clone(),
        );
        figures.register(
            "isolation_checks",
            "Checks of the last run, by what they came to",
            self.checks.clone(),
        );
        figures.register(
            "isolation_coverage_ratio",
            "Share of databases and logins that the last check looked at",
            self.coverage.clone(),
        );
        figures.register(
            "isolation_last_run_duration_seconds",
            "How long the last check took",
            self.duration.clone(),
        );
        figures.register(
            "isolation_runs",
            "Checks that ended in this process, by result",
            self.ended.clone(),
        );
        for result in ["report", "failed", "stopped"] {
            let _ = self.ended.get_or_create(&Outcome { result });
        }
    }

    /// Counts a check that ended here.
    pub(crate) fn ended(&self, end: &CheckEnd) {
        let result = match end {
            CheckEnd::Done(..) => "report",
            CheckEnd::Failed(_) => "failed",
            CheckEnd::Stopped => "stopped",
        };
        self.ended.get_or_create(&Outcome { result }).inc();
    }

    /// Takes what is known now.
    pub(crate) fn take(&self, status: &IsolationStatus, now: jiff::Timestamp) {
        for verdict in STANDINGS {
            let stands = i64::from(status.standing() == verdict);
            self.standing
                .get_or_create(&OfVerdict { verdict })
                .set(stands);
        }
        self.running.set(status.running_since.is_some().into());
        let last = status.last.as_ref();
        let count = |map: Option<&std::collections::BTreeMap<String, u64>>, word: &str| {
            whole(map.and_then(|map| map.get(word)).copied().unwrap_or(0))
        };
        for severity in Severity::ALL {
            let severity = severity.as_str();
            let found = count(last.map(|last| &last.findings), severity);
            self.findings
                .get_or_create(&OfSeverity { severity })
                .set(found);
        }
        for verdict in Verdict::ALL {
            let verdict = verdict.as_str();
            let came = count(last.map(|last| &last.checks), verdict);
            self.checks.get_or_create(&OfVerdict { verdict }).set(came);
        }
        let began = last.map_or(0, |last| last.started_at.as_second());
        self.began.set(began);
        self.age.set((now.as_second() - began).max(0));
        let Some(last) = last else { return };
        self.new.set(whole(last.new_findings));
        self.waived.set(whole(last.waived));
        self.not_tested.set(whole(last.not_tested));
        self.tenants.set(whole(last.tenants));
        self.probes.set(whole(last.probes));
        self.missed
            .set(whole(last.planted.saturating_sub(last.detected)));
        self.duration.set(last.duration_seconds);
        for (of, done, all) in [
            ("databases", last.databases_read, last.databases),
            ("logins", last.logins_tried, last.logins),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
            let share = if all == 0 {
                0.0
            } else {
                done as f64 / all as f64
            };
            self.coverage.get_or_create(&Covered { of }).set(share);
        }
    }
}
