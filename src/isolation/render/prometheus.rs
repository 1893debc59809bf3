//! Figures for the textfile collector of Prometheus' node exporter.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::isolation::model::{Severity, Verdict};
use crate::isolation::report::Isolation;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfSeverity {
    severity: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfVerdict {
    verdict: &'static str,
}

pub(super) fn render(report: &Isolation) -> String {
    let mut registry = Registry::with_prefix("lerianctl_isolation");
    let (verdicts, checks) = (
        Family::<OfVerdict, Gauge>::default(),
        Family::<OfVerdict, Gauge>::default(),
    );
    let findings = Family::<OfSeverity, Gauge>::default();
    for verdict in Verdict::ALL {
        let label = OfVerdict {
            verdict: verdict.as_str(),
        };
        let count = report
            .checks
            .iter()
            .filter(|check| check.verdict == verdict);
        checks.get_or_create(&label).set(whole(count.count()));
        verdicts
            .get_or_create(&label)
            .set(i64::from(report.verdict == verdict));
    }
    for severity in Severity::ALL {
        let count = report.counts.get(&severity).copied().unwrap_or(0);
        findings
            .get_or_create(&OfSeverity {
                severity: severity.as_str(),
            })
            .set(whole(count));
    }
    let gauge = |value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        gauge
    };
    registry.register("verdict", "1 for what the last run concluded", verdicts);
    registry.register("findings", "Findings of the last run that count", findings);
    registry.register(
        "checks",
        "Checks of the last run by what they came to",
        checks,
    );
    registry.register(
        "tenants",
        "Tenants of the fleet",
        gauge(whole(report.fleet.tenants.len())),
    );
    registry.register(
        "planted_breaches_missed",
        "Planted breaches that the last run did not find",
        gauge(whole(
            report
                .control
                .planted
                .saturating_sub(report.control.detected),
        )),
    );
    registry.register(
        "waived",
        "Findings of the last run that are waived",
        gauge(whole(report.waived().count())),
    );
    registry.register(
        "not_tested",
        "Things that the last run did not test",
        gauge(whole(report.not_tested.len())),
    );
    registry.register(
        "servers",
        "Servers that the last run looked at",
        gauge(whole(
            report.fleet.clusters.len() + report.fleet.servers.len(),
        )),
    );
    registry.register_with_unit(
        "last_run_timestamp",
        "When the last run began",
        Unit::Seconds,
        gauge(report.started_at.as_second()),
    );
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a text does not fail");
    text
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
