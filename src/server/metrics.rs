//! Figures for Prometheus.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry as Figures;

use super::isolation::IsolationFigures;
use super::process::Process;
use super::registry::isolation::CheckEnd;
use super::registry::model::now;
use super::service::Tenancy;
use crate::link::postgres::SessionUse;

/// Upper bounds of the latency buckets in seconds.
const BUCKETS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0,
];

/// Upper bounds of the buckets of operations in seconds.
const DURATIONS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Place {
    place: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PlaceState {
    place: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    state: &'static str,
}

/// Counters that live as long as the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    figures: Figures,
    process: Process,
    requests: Family<Request, Counter>,
    latency: Family<Route, Histogram>,
    operations: Family<State, Gauge>,
    ended: Family<Ended, Counter>,
    durations: Family<Ended, Histogram>,
    retries: Counter,
    outbox_depth: Gauge,
    outbox_lag: Gauge,
    undeliverable: Gauge,
    published: Counter,
    unheard: Counter,
    publish_failures: Counter,
    registry_errors: Counter,
    too_long: Counter,
    connections: Connections,
    certificate: Certificate,
    sessions: Sessions,
    freshness: Questions,
    interrupted: Gauge,
    isolation: IsolationFigures,
}

/// How sessions with PostgreSQL, or with the registry's file, are used.
#[derive(Debug, Default)]
struct Sessions {
    open: Family<PlaceState, Gauge>,
    most: Family<Place, Gauge>,
    waiting: Family<Place, Gauge>,
}

/// Questions whether what is remembered of the registry is still true.
#[derive(Debug, Default)]
struct Questions {
    asked: Family<Outcome, Counter>,
    served: Counter,
    leases: Family<Outcome, Counter>,
}

/// Figures of the listener.
#[derive(Debug, Default)]
struct Connections {
    open: Gauge,
    accepted: Counter,
    refused: Family<Reason, Counter>,
    cut: Family<Reason, Counter>,
}

/// Figures of the certificate in use.
#[derive(Debug, Default)]
struct Certificate {
    expires: Mutex<Option<Timestamp>>,
    expiry: Gauge,
    reloads: Family<Outcome, Counter>,
}

impl Metrics {
    /// Registers every figure.
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            figures: Figures::with_prefix("lerianctl"),
            process: Process::new(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            operations: Family::default(),
            ended: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            retries: Counter::default(),
            outbox_depth: Gauge::default(),
            outbox_lag: Gauge::default(),
            undeliverable: Gauge::default(),
            published: Counter::default(),
            unheard: Counter::default(),
            publish_failures: Counter::default(),
            registry_errors: Counter::default(),
            too_long: Counter::default(),
            connections: Connections::default(),
            certificate: Certificate::default(),
            sessions: Sessions::default(),
            freshness: Questions::default(),
            interrupted: Gauge::default(),
            isolation: IsolationFigures::default(),
        };
        let f = &mut metrics.figures;
        f.register(
            "http_requests",
            "Requests answered, by route, method and status",
            metrics.requests.clone(),
        );
        f.register(
            "http_request_duration_seconds",
            "Time to the head of the answer, by route and method",
            metrics.latency.clone(),
        );
        f.register(
            "operations",
            "Operations that have not succeeded, by state",
            metrics.operations.clone(),
        );
        f.register(
            "operations_ended",
            "Operations that ended in this process, by kind and state",
            metrics.ended.clone(),
        );
        f.register(
            "operation_duration_seconds",
            "Time from when an operation was asked for, or due, to its end, by kind and state",
            metrics.durations.clone(),
        );
        f.register(
            "operation_retries",
            "Attempts at operations that are to be repeated",
            metrics.retries.clone(),
        );
        f.register(
            "outbox_depth",
            "Events that wait to be published",
            metrics.outbox_depth.clone(),
        );
        f.register(
            "outbox_lag_seconds",
            "Age of the oldest event that waits to be published",
            metrics.outbox_lag.clone(),
        );
        f.register(
            "outbox_undeliverable",
            "Events of environments that products do not listen to",
            metrics.undeliverable.clone(),
        );
        f.register(
            "events_published",
            "Events published",
            metrics.published.clone(),
        );
        f.register(
            "events_unheard",
            "Events published that no subscriber received",
            metrics.unheard.clone(),
        );
        f.register(
            "event_publish_failures",
            "Attempts to publish that failed",
            metrics.publish_failures.clone(),
        );
        f.register(
            "publishing_interrupted",
            "1 while events are kept back because Redis or the registry fails",
            metrics.interrupted.clone(),
        );
        f.register(
            "active_answers_too_long",
            "Lists of active tenants longer than what Lerian's client library reads",
            metrics.too_long.clone(),
        );
        f.register(
            "registry_errors",
            "Requests and steps that the registry failed",
            metrics.registry_errors.clone(),
        );
        metrics.connections.register(f);
        metrics.sessions.register(f);
        metrics.freshness.register(f);
        f.register(
            "build",
            "Version of the program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        metrics
    }

    /// Counts an answered request.
    pub(crate) fn request(
        &self,
        route: &'static str,
        method: &'static str,
        status: u16,
        took: Duration,
    ) {
        self.requests
            .get_or_create(&Request {
                route,
                method,
                status,
            })
            .inc();
        self.latency
            .get_or_create(&Route { route, method })
            .observe(took.as_secs_f64());
    }

    /// Counts an operation that ended, and how long it took if that is known.
    pub(crate) fn operation_ended(
        &self,
        kind: &'static str,
        state: &'static str,
        took: Option<Duration>,
    ) {
        let ended = Ended { kind, state };
        self.ended.get_or_create(&ended).inc();
        if let Some(took) = took {
            self.durations
                .get_or_create(&ended)
                .observe(took.as_secs_f64());
        }
    }

    /// Counts an attempt that will be repeated.
    pub(crate) fn operation_retried(&self) {
        self.retries.inc();
    }

    /// Counts published events, and those that nobody received.
    pub(crate) fn events_published(&self, count: u64, unheard: u64) {
        self.published.inc_by(count);
        self.unheard.inc_by(unheard);
    }

    /// Counts an attempt to publish that failed.
    pub(crate) fn publish_failed(&self) {
        self.publish_failures.inc();
    }

    /// Notes whether events are kept back because something fails.
    pub(crate) fn publishing_interrupted(&self, interrupted: bool) {
        self.interrupted.set(interrupted.into());
    }

    /// Counts a question whether what is remembered is still true, and the requests it was for.
    pub(crate) fn freshness_asked(&self, requests: u64, answered: bool) {
        let result = if answered { "answered" } else { "failed" };
        self.freshness
            .asked
            .get_or_create(&Outcome { result })
            .inc();
        self.freshness.served.inc_by(requests);
    }

    /// Counts what became of a read lease: `taken`, `refused` or `given_back`.
    pub(crate) fn read_lease(&self, result: &'static str) {
        self.freshness
            .leases
            .get_or_create(&Outcome { result })
            .inc();
    }

    /// Counts an accepted connection.
    pub(crate) fn connection_opened(&self) {
        self.connections.accepted.inc();
        self.connections.open.inc();
    }

    /// Counts the end of an accepted connection.
    pub(crate) fn connection_closed(&self) {
        self.connections.open.dec();
    }

    /// Counts a connection that was closed at once.
    pub(crate) fn connection_refused(&self, reason: &'static str) {
        self.connections
            .refused
            .get_or_create(&Reason { reason })
            .inc();
    }

    /// Counts a connection that the server ended.
    pub(crate) fn connection_cut(&self, reason: &'static str) {
        self.connections.cut.get_or_create(&Reason { reason }).inc();
    }

    /// Notes the first certificate, which makes its figures appear.
    pub(crate) fn tls_opened(&mut self, expires: Timestamp) {
        let certificate = &mut self.certificate;
        certificate.register(&mut self.figures);
        *certificate
            .expires
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner) = Some(expires);
    }

    /// Notes a new certificate.
    pub(crate) fn tls_loaded(&self, expires: Timestamp) {
        let certificate = &self.certificate;
        *certificate
            .expires
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(expires);
        certificate.reloaded("loaded").inc();
    }

    /// Counts a new certificate that cannot be used.
    pub(crate) fn tls_refused(&self) {
        self.certificate.reloaded("refused").inc();
    }

    /// Makes the figures of the check of isolation appear.
    pub(crate) fn isolation_opened(&mut self) {
        self.isolation.register(&mut self.figures);
    }

    /// Counts a check of isolation that ended here.
    pub(crate) fn isolation_ended(&self, end: &CheckEnd) {
        self.isolation.ended(end);
    }

    /// Counts a list of active tenants that products cannot read.
    pub(crate) fn too_long_for_products(&self) {
        self.too_long.inc();
    }

    /// Counts a failure of the registry.
    pub(crate) fn registry_failed(&self) {
        self.registry_errors.inc();
    }

    /// Returns every figure as Prometheus text; those of the registry as of now.
    pub(crate) async fn render(&self, tenancy: &Tenancy) -> String {
        let registry = tenancy.registry.as_ref();
        self.sessions.take("registry", registry.sessions());
        for (cluster, usage) in tenancy.provisioner.sessions() {
            self.sessions.take(&format!("cluster {cluster}"), usage);
        }
        match registry.statistics().await {
            Ok(statistics) => {
                for (state, count) in statistics.operations {
                    self.operations.get_or_create(&State { state }).set(count);
                }
                self.outbox_depth.set(statistics.outbox_depth);
                self.outbox_lag.set(
                    statistics
                        .outbox_oldest
                        .map_or(0, |oldest| now().duration_since(oldest).as_secs().max(0)),
                );
                self.undeliverable.set(statistics.outbox_undeliverable);
            }
            Err(_) => self.registry_failed(),
        }
        if tenancy.checking.settings.is_some() {
            match registry.check_state().await {
                Ok(state) => self.isolation.take(&tenancy.checking.status(state), now()),
                Err(_) => self.registry_failed(),
            }
        }
        self.certificate.tick();
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut text, &self.figures)
            .and_then(|()| encode_registry(&mut text, self.process.figures()))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

impl Connections {
    fn register(&self, figures: &mut Figures) {
        figures.register(
            "connections_open",
            "Connections that are open",
            self.open.clone(),
        );
        figures.register(
            "connections_accepted",
            "Connections accepted",
            self.accepted.clone(),
        );
        figures.register(
            "connections_refused",
            "Connections closed at once, by reason",
            self.refused.clone(),
        );
        figures.register(
            "connections_cut",
            "Connections that the server ended, by reason",
            self.cut.clone(),
        );
    }
}

impl Sessions {
    fn register(&self, figures: &mut Figures) {
        figures.register(
            "sessions_open",
            "Sessions that are kept, by place and state",
            self.open.clone(),
        );
        figures.register(
            "sessions_limit",
            "Most sessions that can be kept, by place",
            self.most.clone(),
        );
        figures.register(
            "sessions_waiting",
            "Callers that wait for a session, by place",
            self.waiting.clone(),
        );
    }

    fn take(&self, place: &str, usage: SessionUse) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let place = place.to_owned();
        for (state, count) in [("idle", usage.idle), ("busy", usage.busy)] {
            let place = place.clone();
            self.open
                .get_or_create(&PlaceState { place, state })
                .set(number(count));
        }
        let place = Place { place };
        self.most.get_or_create(&place).set(number(usage.most));
        self.waiting
            .get_or_create(&place)
            .set(number(usage.waiting));
    }
}

impl Questions {
    fn register(&self, figures: &mut Figures) {
        figures.register(
            "freshness_questions",
            "Questions to the registry whether what is remembered is still true, by result",
            self.asked.clone(),
        );
        figures.register(
            "freshness_requests",
            "Requests that such a question was for",
            self.served.clone(),
        );
        figures.register(
            "freshness_leases",
            "Read leases, with which requests need no such question, by result",
            self.leases.clone(),
        );
    }
}

impl Certificate {
    fn register(&self, figures: &mut Figures) {
        figures.register(
            "tls_certificate_expiry_seconds",
            "Seconds until the certificate in use expires; negative afterwards",
            self.expiry.clone(),
        );
        figures.register(
            "tls_certificate_reloads",
            "Changed certificates that were taken up, by result",
            self.reloads.clone(),
        );
        for result in ["loaded", "refused"] {
            let _ = self.reloads.get_or_create(&Outcome { result });
        }
    }

    fn reloaded(&self, result: &'static str) -> impl std::ops::Deref<Target = Counter> {
        self.reloads.get_or_create(&Outcome { result })
    }

    fn tick(&self) {
        let expires = *self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expires) = expires {
            self.expiry.set(expires.duration_since(now()).as_secs());
        }
    }
}
