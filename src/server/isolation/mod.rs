//! The check of isolation that the server runs by itself, so that a proof is never old.
//!
//! Whose turn it is stands in the registry: however many servers share one, one of them checks, and
//! a server that dies with a check loses it when its lease runs out. The check reads with the login
//! that it was given for that, or else with the one that provisions; nothing is kept open to it, and
//! what it plants as a control is rolled back with its session.

mod figures;
mod files;
mod fleet;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

pub(crate) use figures::IsolationFigures;
pub use files::{ProductProbes, read_baseline, read_waivers};

use super::audit::Trail;
use super::error::ApiError;
use super::registry::isolation::{CheckDone, CheckEnd, CheckState, LEASE, StoredReport};
use super::registry::model::now;
use super::service::Tenancy;
use crate::audit::actions;
use crate::contract::isolation::{
    IsolationAnswer, IsolationFailure, IsolationStatus, IsolationSummary,
};
use crate::isolation::attest::{self, SigningKey};
use crate::isolation::model::Verdict;
use crate::isolation::mongodb;
use crate::isolation::rabbitmq::Management;
use crate::isolation::redis::{self, Target};
use crate::isolation::report::Isolation;
use crate::isolation::run::{Settings, run};
use crate::isolation::verdict::{Bar, Waivers, passes};
use crate::link::postgres::PostgresEndpoint;
use crate::link::redis::RedisEndpoint;

/// Longest time between two looks whether a check is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after a failure of the registry.
const PATIENCE: Duration = Duration::from_secs(2);
/// Name of the report in its attestation.
const REPORT_NAME: &str = "isolation-report.json";

/// How a server checks isolation by itself.
#[derive(Debug, Clone)]
pub struct IsolationSettings {
    /// Time between the beginnings of two checks.
    pub every: Duration,
    /// Longest time of one; what takes longer is given up and counts as failed.
    pub timeout: Duration,
    /// Sessions that it may have open at the same time.
    pub sessions: usize,
    /// Random derangements that tenants' logins try.
    pub derangements: u32,
    /// Whether they try every pair, and every key of Redis is looked at.
    pub exhaustive: bool,
    /// Whether breaches are planted, in transactions that are rolled back.
    pub control: bool,
    /// Logins that read catalogues and plant breaches, one per cluster; those that provision where
    /// there are none.
    pub auditors: Vec<PostgresEndpoint>,
    /// Management interfaces of RabbitMQ.
    pub brokers: Vec<Management>,
    /// Certificates to trust where products reach RabbitMQ over TLS, PEM.
    pub rabbitmq_ca: Option<String>,
    /// How MongoDB is looked at.
    pub mongodb: mongodb::Options,
    /// Running products to probe.
    pub products: Option<ProductProbes>,
    /// File of findings that somebody answers for; read before each check.
    pub waivers: Option<PathBuf>,
    /// Earlier report, read before each check; only what it does not have fails.
    pub baseline: Option<PathBuf>,
    /// Key that signs reports.
    pub signer: Option<Arc<SigningKey>>,
}

impl IsolationSettings {
    /// Returns how a run is made, before what is read for it.
    fn of_run(&self, redis: Option<&RedisEndpoint>) -> Settings {
        let target = |endpoint: &RedisEndpoint| Target {
            endpoint: endpoint.clone(),
            events: true,
        };
        let mut how = Settings::new(now());
        how.jobs = self.sessions;
        how.derangements = self.derangements;
        how.exhaustive = self.exhaustive;
        how.control = self.control;
        how.redis.targets = redis.map(target).into_iter().collect();
        how.redis.keys = (!self.exhaustive).then_some(redis::SAMPLE);
        how.rabbitmq.brokers.clone_from(&self.brokers);
        how.rabbitmq.ca_pem.clone_from(&self.rabbitmq_ca);
        how.mongodb.clone_from(&self.mongodb);
        how
    }
}

/// State of the check in this server.
#[derive(Debug, Default)]
pub(crate) struct Checking {
    /// How it is done; not at all without.
    pub(crate) settings: Option<IsolationSettings>,
    /// The Redis with the events, which is looked at too.
    pub(crate) redis: Option<RedisEndpoint>,
    /// Rung when there may be something to do.
    pub(crate) asked: Notify,
}

/// Checks whenever it is this server's turn, until `closing` turns true.
pub(crate) async fn work(tenancy: Arc<Tenancy>, mut closing: watch::Receiver<bool>) {
    let Some(settings) = tenancy.checking.settings.clone() else {
        return;
    };
    let look = (settings.every / 10).clamp(Duration::from_millis(100), LOOK_EVERY);
    while !*closing.borrow() {
        let run = uuid::Uuid::now_v7().to_string();
        let wait = match tenancy.registry.begin_check(&run, settings.every).await {
            Ok(true) => {
                once(&tenancy, &settings, run, &mut closing).await;
                continue;
            }
            Ok(false) => look,
            Err(error) => {
                tenancy.metrics.registry_failed();
                tracing::warn!(%error, "whether isolation is to be checked is not known");
                PATIENCE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = tenancy.checking.asked.notified() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
}

/// Does one check and keeps what came of it.
async fn once(
    tenancy: &Arc<Tenancy>,
    settings: &IsolationSettings,
    run: String,
    closing: &mut watch::Receiver<bool>,
) {
    let before = tenancy.registry.check_state().await.unwrap_or_default();
    tracing::info!(run, "checking isolation");
    let ended = attempt(tenancy, settings, &run, closing).await;
    let at = now();
    let mut record = crate::audit::draft(actions::ISOLATION_CHECK, at);
    let end = match ended {
        Ended::Report(outcome) => {
            told(before.last.as_ref(), &outcome);
            record.result = outcome.verdict.to_string();
            record.detail = Some(format!("run {run}: {}", outcome.headline()));
            let (summary, stored) = written(&outcome, settings);
            CheckEnd::Done(Box::new(summary), stored)
        }
        Ended::Failed(reason) => {
            tracing::error!(run, reason, "isolation could not be checked");
            "failed".clone_into(&mut record.result);
            record.detail = Some(format!("run {run}: {reason}"));
            CheckEnd::Failed(IsolationFailure { at, reason })
        }
        Ended::Closing => {
            tracing::info!(run, "the check of isolation is left to the next server");
            "stopped".clone_into(&mut record.result);
            record.detail = Some(format!("run {run}"));
            CheckEnd::Stopped
        }
        Ended::Lost => {
            tracing::warn!(run, "another server may have taken the check over");
            return;
        }
    };
    tenancy.metrics.isolation_ended(&end);
    let done = CheckDone {
        run,
        end,
        audit: vec![record],
    };
    // A report that took an hour is worth a few tries.
    for _ in 0..5 {
        match tenancy.registry.end_check(done.clone()).await {
            Ok(true) => return,
            Ok(false) => {
                tracing::warn!("what came of the check is not kept: its time was over");
                return;
            }
            Err(error) => {
                tenancy.metrics.registry_failed();
                tracing::warn!(%error, "what came of the check is not kept yet");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

/// How an attempt ended.
enum Ended {
    Report(Box<Isolation>),
    Failed(String),
    Closing,
    Lost,
}

/// Checks on a thread of its own, so that requests do not wait for it, as long as the time is not
/// over, the lease is renewed and the server serves.
async fn attempt(
    tenancy: &Arc<Tenancy>,
    settings: &IsolationSettings,
    run: &str,
    closing: &mut watch::Receiver<bool>,
) -> Ended {
    // Dropped with this future, however it ends, which ends the check and its sessions.
    let (_going, gone) = oneshot::channel::<()>();
    let deadline = Instant::now() + settings.timeout;
    let (here, how) = (Arc::clone(tenancy), settings.clone());
    let named = run.to_owned();
    let runtime = tokio::runtime::Handle::current();
    let mut work = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            tokio::select! {
                outcome = check(&here, &how, &named) => Some(outcome),
                _ = gone => None,
            }
        })
    });
    let mut surely = Instant::now() + LEASE.mul_f64(0.75);
    loop {
        tokio::select! {
            outcome = &mut work => return match outcome {
                Ok(Some(Ok(outcome))) => Ended::Report(Box::new(outcome)),
                Ok(Some(Err(reason))) => Ended::Failed(reason),
                Ok(None) => Ended::Lost,
                Err(error) => Ended::Failed(format!("the check went wrong: {error}")),
            },
            () = tokio::time::sleep(LEASE / 5) => {
                let asked = Instant::now();
                match tokio::time::timeout(LEASE / 4, tenancy.registry.renew_check(run)).await {
                    Ok(Ok(true)) => surely = asked + LEASE.mul_f64(0.75),
                    Ok(Ok(false)) => return Ended::Lost,
                    Ok(Err(error)) => tracing::warn!(%error, "the check is not renewed"),
                    Err(_) => tracing::warn!("the check is not renewed: the registry does not answer"),
                }
                if Instant::now() >= surely {
                    return Ended::Lost;
                }
            }
            () = tokio::time::sleep_until(deadline) => {
                let limit = settings.timeout.as_secs_f64();
                return Ended::Failed(format!("it took longer than {limit} s and was given up"));
            }
            () = closed(closing) => return Ended::Closing,
        }
    }
}

/// Returns once the server stops.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Checks the fleet that the registry knows.
async fn check(
    tenancy: &Tenancy,
    settings: &IsolationSettings,
    run_id: &str,
) -> Result<Isolation, String> {
    let waivers = match &settings.waivers {
        None => Waivers::default(),
        Some(path) => read_waivers(path)?,
    };
    let baseline = match &settings.baseline {
        None => Vec::new(),
        Some(path) => read_baseline(path)?,
    };
    let probes = settings.products.as_ref();
    let plan = probes.map(ProductProbes::plan).transpose()?;
    let mut record = crate::audit::draft(actions::ISOLATION_CHECK, now());
    "begun".clone_into(&mut record.result);
    record.detail = Some(format!(
        "run {run_id}: the connections of every tenant are read"
    ));
    let noted = tenancy.registry.append_audit(vec![record]).await;
    noted.map_err(|error| format!("the audit log cannot be written: {error}"))?;
    let mut inventory = fleet::inventory(tenancy).await?;
    inventory.rotation_grace = Some(tenancy.rotation_grace);
    let redis = tenancy.checking.redis.as_ref();
    inventory.event_redis = redis.map(RedisEndpoint::address);
    let mut how = settings.of_run(redis);
    how.waivers = waivers;
    how.baseline = baseline;
    how.http = plan.map_or_else(Vec::new, |plan| plan.targets(&inventory));
    how.auditors = if settings.auditors.is_empty() {
        let clusters = tenancy.clusters.iter();
        clusters.map(fleet::as_handed_out).collect()
    } else {
        settings.auditors.clone()
    };
    let mut outcome = run(&inventory, &how, &|_, _, _| ()).await;
    run_id.clone_into(&mut outcome.run);
    Ok(outcome)
}

/// Says when the verdict is another one than before.
fn told(before: Option<&IsolationSummary>, outcome: &Isolation) {
    let from = before.map_or("none", |before| before.verdict.as_str());
    let to = outcome.verdict.as_str();
    let (run, because) = (&outcome.run, &outcome.because);
    match (from == to, outcome.verdict) {
        (true, _) => tracing::info!(run, verdict = to, "isolation was checked"),
        (false, Verdict::Holds | Verdict::Waived) => {
            tracing::info!(run, from, to, "the verdict on isolation changed");
        }
        (false, _) => {
            tracing::warn!(run, from, to, because, "the verdict on isolation changed");
        }
    }
}

/// Writes a report as it is kept, with its attestation, and what it comes to.
fn written(outcome: &Isolation, settings: &IsolationSettings) -> (IsolationSummary, StoredReport) {
    let bar = Bar {
        fail_on: crate::isolation::model::Severity::Low,
        only_new: settings.baseline.is_some(),
    };
    // The form of `-o json`.
    let mut document = json!({
        "apiVersion": "lerianctl/v1",
        "kind": "IsolationReport",
        "passed": passes(outcome, bar, false),
        "failOn": bar.fail_on,
    });
    if let (Value::Object(document), Ok(Value::Object(keys))) =
        (&mut document, serde_json::to_value(outcome))
    {
        document.extend(keys);
    }
    let report = document.to_string();
    let attestation = settings.signer.as_deref().and_then(|key| {
        let envelope = attest::sign(key, REPORT_NAME, report.as_bytes(), outcome, now());
        serde_json::to_string(&envelope).ok()
    });
    let mut checks = std::collections::BTreeMap::new();
    for check in &outcome.checks {
        *checks.entry(check.verdict.to_string()).or_default() += 1;
    }
    let coverage = &outcome.coverage;
    let new = outcome.findings.iter();
    let new = new.filter(|finding| finding.counts() && !finding.known);
    let summary = IsolationSummary {
        run: outcome.run.clone(),
        started_at: outcome.started_at,
        duration_seconds: outcome.duration_seconds,
        verdict: outcome.verdict.to_string(),
        because: outcome.because.clone(),
        findings: outcome
            .counts
            .iter()
            .map(|(severity, count)| (severity.to_string(), *count as u64))
            .collect(),
        new_findings: new.count() as u64,
        waived: outcome.waived().count() as u64,
        checks,
        not_tested: outcome.not_tested.len() as u64,
        tenants: outcome.fleet.tenants.len() as u64,
        databases: coverage.databases,
        databases_read: coverage.databases_read,
        logins: coverage.logins,
        logins_tried: coverage.logins_tried,
        probes: coverage.probes,
        planted: outcome.control.planted as u64,
        detected: outcome.control.detected as u64,
        signed: attestation.is_some(),
    };
    (
        summary,
        StoredReport {
            report,
            attestation,
        },
    )
}

impl Checking {
    /// Says where the check stands.
    pub(crate) fn status(&self, state: CheckState) -> IsolationStatus {
        let settings = self.settings.as_ref();
        let at = now();
        let age = state.last.as_ref().map(|last| {
            let age = at.duration_since(last.started_at);
            Duration::try_from(age).unwrap_or_default()
        });
        // Where nobody checks, nothing is fresh.
        let good_for = settings.map_or(Duration::ZERO, |settings| {
            settings.every * 2 + settings.timeout
        });
        let next_at = settings.and_then(|settings| {
            let begun = state.begun_at?;
            let every = jiff::SignedDuration::try_from(settings.every).ok()?;
            begun.checked_add(every).ok()
        });
        IsolationStatus {
            enabled: settings.is_some(),
            every_seconds: settings.map(|settings| settings.every.as_secs()),
            timeout_seconds: settings.map(|settings| settings.timeout.as_secs()),
            running_since: state.begun_at.filter(|_| state.holder.is_some()),
            asked_at: state.asked_at,
            next_at,
            stale: age.is_some_and(|age| age > good_for),
            age_seconds: age.map(|age| age.as_secs()),
            last: state.last,
            failed: state.failed,
        }
    }
}

impl Tenancy {
    /// `GET /v1/admin/isolation`.
    pub(crate) async fn isolation_status(&self) -> Result<IsolationStatus, ApiError> {
        let state = self.noted(self.registry.check_state().await)?;
        Ok(self.checking.status(state))
    }

    /// `GET /v1/admin/isolation/report`.
    pub(crate) async fn isolation_report(&self) -> Result<IsolationAnswer, ApiError> {
        let status = self.isolation_status().await?;
        let stored = self.noted(self.registry.check_report().await)?;
        let stored = stored.ok_or_else(|| {
            let why = match (&status.failed, status.enabled) {
                (Some(failed), _) => format!("the last attempt gave none: {}", failed.reason),
                (None, true) => "no check has come to its end".into(),
                (None, false) => "this server does not check by itself (--isolation-every)".into(),
            };
            ApiError::not_found("isolation.no_report", format!("there is no report: {why}"))
        })?;
        let attestation = stored
            .attestation
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(IsolationAnswer {
            status,
            report: stored.report,
            attestation,
        })
    }

    /// `POST /v1/admin/isolation/check`: has a check begin as soon as none is under way.
    pub(crate) async fn ask_isolation(
        &self,
        trail: Option<&Trail>,
    ) -> Result<IsolationStatus, ApiError> {
        if self.checking.settings.is_none() {
            return Err(ApiError::conflict(
                "isolation.off",
                "this server does not check isolation by itself: it was started without `--isolation-every`",
            ));
        }
        let record = trail.map(|trail| trail.record(202, None));
        let asked = self.registry.ask_check(record.into_iter().collect()).await;
        self.noted(asked)?;
        if let Some(trail) = trail {
            trail.recorded();
        }
        self.checking.asked.notify_one();
        self.isolation_status().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(every: Duration, timeout: Duration) -> IsolationSettings {
        IsolationSettings {
            every,
            timeout,
            sessions: 4,
            derangements: 3,
            exhaustive: false,
            control: true,
            auditors: Vec::new(),
            brokers: Vec::new(),
            rabbitmq_ca: None,
            mongodb: mongodb::Options::default(),
            products: None,
            waivers: None,
            baseline: None,
            signer: None,
        }
    }

    #[test]
    fn exhaustive_is_every_pair_and_every_key() {
        let mut how = settings(Duration::from_hours(1), Duration::from_mins(30));
        how.rabbitmq_ca = Some("an authority".into());
        how.mongodb.ca_pem = Some("another".into());
        let run = how.of_run(None);
        assert_eq!(
            (run.exhaustive, run.redis.keys),
            (false, Some(redis::SAMPLE))
        );
        assert_eq!(run.rabbitmq.ca_pem, how.rabbitmq_ca);
        assert_eq!(run.mongodb.ca_pem, how.mongodb.ca_pem);
        how.exhaustive = true;
        let run = how.of_run(None);
        assert_eq!((run.exhaustive, run.redis.keys), (true, None));
    }

    #[test]
    fn a_report_is_good_for_two_periods_and_the_longest_run() {
        let (hour, half) = (Duration::from_hours(1), Duration::from_mins(30));
        let checking = |settings| Checking {
            settings,
            ..Checking::default()
        };
        let how = settings(hour, half);
        let on = checking(Some(how.clone()));
        let at = |minutes: i64| {
            let outcome = crate::isolation::render::tests::marked();
            let (mut summary, stored) = written(&outcome, &how);
            assert!(stored.report.contains("\"kind\":\"IsolationReport\""));
            summary.started_at = now() - jiff::SignedDuration::from_mins(minutes);
            CheckState {
                last: Some(summary),
                ..CheckState::default()
            }
        };
        assert_eq!(on.status(CheckState::default()).standing(), "none");
        assert_eq!(on.status(at(149)).standing(), "refuted");
        assert_eq!(on.status(at(151)).standing(), "stale");
        // Where nobody checks, nothing is fresh.
        let off = checking(None).status(at(1));
        assert!(off.stale && !off.enabled && off.next_at.is_none());
        let running = CheckState {
            holder: Some("r".into()),
            begun_at: Some(now()),
            ..at(1)
        };
        let running = on.status(running);
        assert!(running.running_since.is_some() && running.next_at.is_some());
    }
}
