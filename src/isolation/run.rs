//! A whole run: every family, in order, with bounded connections.

mod besides;
mod cluster;
mod configuration;
mod maintenance;
mod never;
mod products;
mod servers;
mod skew;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;

use super::derange::{bound, derangement};
use super::inventory::{Inventory, Store};
use super::model::{Check, Family, Finding, Severity};
use super::products::ProductEnvironment;
use super::report::{Control, ControlState, Coverage, Fleet, Isolation, NotTested, SCHEMA_VERSION};
use super::sittings::Sittings;
use super::verdict::{self, Waivers};
use super::{catalogue, config, control, http, kafka, live, mongodb, objects, rabbitmq, redis};
use crate::link::postgres::{Gate, PostgresEndpoint};
use never::NEVER;
use tally::Tallies;

/// Pairs up to which all of them are tried without being asked to.
const FEW_PAIRS: usize = 400;

/// How a run is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Logins that read catalogues and plant breaches, one per cluster; a tenant's own login reads
    /// where there is none.
    pub auditors: Vec<PostgresEndpoint>,
    /// Whether tenants' logins are tried.
    pub live: bool,
    /// Random derangements to try.
    pub derangements: u32,
    /// Whether every pair is tried.
    pub exhaustive: bool,
    /// Seed of the derangements.
    pub seed: u64,
    /// Sessions that PostgreSQL ever has of us at the same time, on all clusters together.
    pub jobs: usize,
    /// Whether breaches are planted.
    pub control: bool,
    /// How Redis is looked at.
    pub redis: redis::Options,
    /// How RabbitMQ is looked at.
    pub rabbitmq: rabbitmq::Options,
    /// How MongoDB is looked at.
    pub mongodb: mongodb::Options,
    /// How Kafka is looked at.
    pub kafka: kafka::Options,
    /// Ids of the checks to run; all when empty.
    pub only: Vec<String>,
    /// Findings that somebody answers for.
    pub waivers: Waivers,
    /// Findings of an earlier report.
    pub baseline: Vec<Finding>,
    /// The time that counts for waivers.
    pub now: Timestamp,
    /// Environments of products.
    pub products: Vec<ProductEnvironment>,
    /// How long a retired login stays valid; what the Tenant Manager says when absent.
    pub grace: Option<Duration>,
    /// Clusters that tenants may be led to, as `host:port`; any when empty.
    pub clusters: Vec<String>,
    /// Running products to probe.
    pub http: Vec<http::Target>,
    /// Folders of this program that hold no password, and files there that do.
    pub files: (Vec<PathBuf>, BTreeSet<PathBuf>),
    /// Where what logins tried is kept, for a run that may be cut short.
    pub sittings: Option<Arc<Sittings>>,
}

impl Settings {
    /// Returns settings for a full run without an auditor.
    pub fn new(now: Timestamp) -> Self {
        Self {
            auditors: Vec::new(),
            live: true,
            derangements: 3,
            exhaustive: false,
            seed: u64::from_le_bytes(crate::secret::random_bytes()) >> 12,
            jobs: 8,
            control: true,
            redis: redis::Options::default(),
            rabbitmq: rabbitmq::Options::default(),
            mongodb: mongodb::Options::default(),
            kafka: kafka::Options::default(),
            only: Vec::new(),
            waivers: Waivers::default(),
            baseline: Vec::new(),
            now,
            products: Vec::new(),
            grace: None,
            clusters: Vec::new(),
            http: Vec::new(),
            files: (Vec::new(), BTreeSet::new()),
            sittings: None,
        }
    }

    fn today(&self) -> jiff::civil::Date {
        jiff::tz::Offset::UTC.to_datetime(self.now).date()
    }

    pub(super) fn wants(&self, check: &Check) -> bool {
        self.only.is_empty() || self.only.iter().any(|id| id.eq_ignore_ascii_case(check.id))
    }

    fn wanted(&self, family: Family) -> Vec<&'static Check> {
        catalogue::of(family)
            .filter(|check| self.wants(check))
            .collect()
    }
}

/// Tells how far a run has come: what goes on, how much is done, of how much.
pub type Progress<'a> = &'a dyn Fn(&str, u64, u64);

/// Checks a fleet.
pub async fn run(inventory: &Inventory, settings: &Settings, progress: Progress<'_>) -> Isolation {
    let begun = Instant::now();
    let gate = Gate::new(settings.jobs);
    let mut tallies = Tallies::new(settings.wanted_all());
    let mut coverage = Coverage {
        seed: settings.seed,
        ..Coverage::default()
    };
    let mut not_tested = BTreeSet::new();
    for gap in &inventory.gaps {
        not_tested.insert(NotTested {
            what: "part of the inventory".into(),
            why: gap.clone(),
        });
    }
    progress("what tenants are handed", 0, 0);
    configuration::check(inventory, settings, &mut tallies, &mut not_tested).await;
    let mut facts = Vec::new();
    let mut stores: Vec<Store> = Vec::new();
    let mut controls = Vec::new();
    let mut identities = Vec::new();
    let mut versions = Vec::new();
    let mut clusters = Vec::new();
    let names = servers::Names::learn(inventory, settings, &gate).await;
    let groups = names.group(&inventory.stores);
    let alone = groups.len() == 1;
    for (address, of_cluster) in groups {
        tallies.find(config::one_server(&of_cluster, settings));
        let mut cluster = cluster::Cluster::new(
            &address,
            &of_cluster,
            inventory,
            settings,
            &gate,
            |auditor| {
                alone && settings.auditors.len() == 1 || names.of(&auditor.address()) == address
            },
        );
        cluster
            .audit(settings, &mut tallies, &mut coverage, progress)
            .await;
        configuration::budget(&address, cluster.room(), inventory, settings, &mut tallies);
        if settings.control
            && let Some(auditor) = cluster.auditor()
        {
            progress("planting breaches to be found", 0, 0);
            let checks: Vec<&Check> = [Family::Cluster, Family::Database]
                .into_iter()
                .flat_map(|family| settings.wanted(family))
                .filter(|check| check.sql.is_some() && check.since <= cluster.version())
                .collect();
            controls.push(control::run(&gate, auditor, &checks).await);
        }
        facts.push(cluster.facts());
        stores.extend(cluster.stores().iter().cloned());
        identities.push(cluster.identity());
        versions.extend(cluster.versions());
        clusters.push(cluster);
    }
    besides::twins(&identities, settings, &mut tallies);
    skew::check(&versions, settings, &mut tallies);
    if settings.live {
        probe(
            &stores,
            &names,
            settings,
            &gate,
            &mut tallies,
            &mut coverage,
            progress,
        )
        .await;
        besides::probe(
            &stores,
            &inventory.retired,
            settings,
            &gate,
            &mut tallies,
            progress,
        )
        .await;
        for cluster in &mut clusters {
            cluster.again(&mut tallies).await;
        }
    } else {
        besides::off(settings, &mut tallies);
        not_tested.insert(NotTested {
            what: "what happens when it is tried".into(),
            why: "live probes were switched off (--static)".into(),
        });
    }
    let asked = settings.wanted(Family::Redis);
    let part = redis::check(inventory, &settings.redis, &asked, &|done, total| {
        progress("the keys of Redis", done, total);
    })
    .await;
    let mut planted = part.planted.clone();
    let mut servers = tallies.take(part, &mut not_tested);
    if !(settings.rabbitmq.brokers.is_empty() && inventory.messaging.is_empty()) {
        progress("the virtual hosts of RabbitMQ", 0, 0);
    }
    let asked = settings.wanted(Family::Rabbitmq);
    let trials = settings.live.then_some(rabbitmq::Trials {
        derangements: settings.derangements,
        exhaustive: settings.exhaustive,
        seed: settings.seed,
        jobs: settings.jobs,
    });
    let part = rabbitmq::check(inventory, &settings.rabbitmq, &asked, trials).await;
    planted.extend(part.planted.clone());
    servers.extend(tallies.take(part, &mut not_tested));
    if !(settings.mongodb.readers.is_empty() && inventory.documents.is_empty()) {
        progress("the databases of MongoDB", 0, 0);
    }
    let asked = settings.wanted(Family::Mongodb);
    let part = mongodb::check(inventory, &settings.mongodb, &asked, trials).await;
    planted.extend(part.planted.clone());
    servers.extend(tallies.take(part, &mut not_tested));
    let part = kafka::check(inventory, &settings.kafka, &settings.wanted(Family::Kafka));
    planted.extend(part.planted.clone());
    servers.extend(tallies.take(part, &mut not_tested));
    let part = objects::check(inventory, &settings.wanted(Family::Objects));
    planted.extend(part.planted.clone());
    servers.extend(tallies.take(part, &mut not_tested));
    let mut control = merge(controls, settings, &planted);
    products::probe(
        inventory,
        settings,
        &gate,
        &mut tallies,
        &mut control,
        &mut not_tested,
        progress,
    )
    .await;
    let tenants = products::tenants(inventory, settings);
    gate.closed().await;
    coverage.connections = u32::try_from(gate.most()).unwrap_or(u32::MAX);
    coverage.pairs = clusters.iter().map(cluster::Cluster::pairs).sum();
    let (mut findings, checks) = tallies.close(&control, &mut not_tested);
    let unused_waivers = settings.waivers.apply(&mut findings, settings.today());
    let checks = tally::after_waivers(checks, &findings);
    verdict::known_before(&mut findings, &settings.baseline);
    findings.sort_by(|a, b| {
        (b.severity, &a.check, &a.store, &a.object, &a.roles)
            .cmp(&(a.severity, &b.check, &b.store, &b.object, &b.roles))
    });
    let is_limit =
        |finding: &Finding| catalogue::find(&finding.check).is_some_and(|check| check.limit);
    let (limits, findings): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_limit);
    let (notes, findings): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| finding.severity == Severity::Info);
    let (verdict, because) = verdict::conclude(&findings, &checks, &control);
    let journal = settings.sittings.as_deref();
    let (verdict, because) = match journal {
        Some(journal) => journal.aged(verdict, because),
        None => (verdict, because),
    };
    if settings.http.is_empty() {
        not_tested.insert(NotTested {
            what: "the products' own HTTP interfaces".into(),
            why: "no product was named (--recipe); one that mixes up tenants in its own code is not seen here".into(),
        });
    }
    for never in NEVER {
        not_tested.insert(NotTested {
            what: never.named(),
            why: never.why.to_owned(),
        });
    }
    Isolation {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: uuid::Uuid::now_v7().to_string(),
        started_at: settings.now,
        duration_seconds: begun.elapsed().as_secs_f64(),
        sittings: journal.map(Sittings::told).unwrap_or_default(),
        verdict,
        because,
        counts: verdict::counts(&findings),
        fleet: Fleet {
            source: inventory.source.clone(),
            inventory: inventory.digest(),
            tenants,
            stores: inventory.stores.len(),
            clusters: facts,
            servers,
        },
        coverage,
        control,
        findings,
        limits,
        notes,
        checks,
        not_tested: not_tested.into_iter().collect(),
        unused_waivers,
    }
}

impl Settings {
    fn wanted_all(&self) -> Vec<&'static Check> {
        catalogue::all()
            .iter()
            .filter(|check| self.wants(check))
            .collect()
    }
}

fn tallies_wants(settings: &Settings, finding: &Finding) -> bool {
    catalogue::find(&finding.check).is_some_and(|check| settings.wants(check))
}

/// One answer for the controls of all clusters, and for breaches that were planted in readings: the
/// weakest counts.
fn merge(
    controls: Vec<Control>,
    settings: &Settings,
    planted: &BTreeMap<&'static str, bool>,
) -> Control {
    let mut whole = merge_clusters(controls, settings);
    let missed = planted.iter().filter(|(_, found)| !**found);
    let missed: Vec<String> = missed.map(|(id, _)| (*id).to_owned()).collect();
    // Where nothing is asked of a catalogue, the readings are all that can be controlled.
    let only_readings = !settings
        .wanted_all()
        .iter()
        .any(|check| check.sql.is_some());
    if whole.state == ControlState::Impossible && only_readings && !planted.is_empty() {
        whole.state = ControlState::Detected;
        whole.reason = String::new();
    }
    if whole.state == ControlState::Detected || !missed.is_empty() {
        whole.planted += planted.len();
        whole.detected += planted.len() - missed.len();
    }
    if !missed.is_empty() {
        whole.state = ControlState::Missed;
        whole.missed.extend(missed);
    }
    whole
}

fn merge_clusters(controls: Vec<Control>, settings: &Settings) -> Control {
    let mut whole = Control {
        state: if settings.control {
            ControlState::Impossible
        } else {
            ControlState::Off
        },
        planted: 0,
        detected: 0,
        missed: Vec::new(),
        uncontrolled: Vec::new(),
        reason: if settings.control {
            "no login was given that may make scratch roles (--postgres-url-file)".into()
        } else {
            "switched off with --no-control".into()
        },
    };
    let possible: Vec<&Control> = controls
        .iter()
        .filter(|control| control.state != ControlState::Impossible)
        .collect();
    if possible.is_empty() {
        if let Some(control) = controls.into_iter().next() {
            return control;
        }
        return whole;
    }
    whole.state = ControlState::Detected;
    whole.reason = String::new();
    for control in possible {
        if whole.reason.is_empty() {
            whole.reason.clone_from(&control.reason);
        }
        whole.planted += control.planted;
        whole.detected += control.detected;
        whole.missed.extend(control.missed.iter().cloned());
        whole
            .uncontrolled
            .extend(control.uncontrolled.iter().cloned());
    }
    for list in [&mut whole.missed, &mut whole.uncontrolled] {
        list.sort();
        list.dedup();
    }
    if !whole.missed.is_empty() {
        whole.state = ControlState::Missed;
    }
    whole
}

/// Chooses whom every store probes: all, or one other tenant per derangement.
fn victims<'a>(
    stores: &[&'a Store],
    settings: &Settings,
    coverage: &mut Coverage,
) -> Vec<Vec<&'a Store>> {
    let mut by_tenant: BTreeMap<&str, Vec<&Store>> = BTreeMap::new();
    for store in stores {
        by_tenant.entry(&store.tenant).or_default().push(store);
    }
    let tenants: Vec<&str> = by_tenant.keys().copied().collect();
    let n = tenants.len();
    if n < 2 {
        return vec![Vec::new(); stores.len()];
    }
    let all = settings.exhaustive || stores.len() * stores.len() <= FEW_PAIRS;
    if all {
        return stores
            .iter()
            .map(|store| {
                let others = stores.iter().copied();
                others
                    .filter(|other| other.tenant != store.tenant)
                    .collect()
            })
            .collect();
    }
    coverage.exhaustive = false;
    coverage.derangements = settings.derangements;
    let rounds: Vec<Vec<usize>> = (0..settings.derangements)
        .map(|round| derangement(n, settings.seed.wrapping_add(u64::from(round))))
        .collect();
    stores
        .iter()
        .enumerate()
        .map(|(at, store)| {
            let own = tenants.binary_search(&store.tenant.as_str()).unwrap_or(0);
            rounds
                .iter()
                .map(|round| {
                    let theirs = &by_tenant[tenants[round[own]]];
                    theirs[at % theirs.len()]
                })
                .collect()
        })
        .collect()
}

/// Looks into the console of a pooler, where an auditor is given for its address.
async fn console(stores: &[&Store], settings: &Settings, gate: &Gate, tallies: &mut Tallies) {
    let address = stores.first().map(|store| store.cluster());
    let mut auditors = settings.auditors.iter();
    let Some(auditor) = auditors.find(|auditor| Some(auditor.address()) == address) else {
        tallies.skip(
            "PB-03",
            "no auditor is given for this address (--postgres-url-file)",
        );
        return;
    };
    let mut outcome = live::Outcome::default();
    let schemas = stores.iter().any(|store| store.schema.is_some());
    live::console(gate, auditor, schemas, &mut outcome).await;
    if outcome.skipped.is_empty() {
        tallies.expect("PB-03", 1);
    }
    tallies.tried(outcome, settings);
}

async fn probe(
    stores: &[Store],
    names: &servers::Names,
    settings: &Settings,
    gate: &Gate,
    tallies: &mut Tallies,
    coverage: &mut Coverage,
    progress: Progress<'_>,
) {
    coverage.exhaustive = true;
    coverage.logins = stores
        .iter()
        .filter(|store| store.status == "active")
        .count() as u64;
    let active = || stores.iter().filter(|store| store.status == "active");
    let mut work = Vec::new();
    for of_cluster in names.group(active()).values() {
        let chosen = victims(of_cluster, settings, coverage);
        tallies.expect_pairs(of_cluster);
        work.extend(of_cluster.iter().copied().zip(chosen));
    }
    let mut addresses: BTreeMap<String, Vec<&Store>> = BTreeMap::new();
    for store in active() {
        addresses.entry(store.cluster()).or_default().push(store);
    }
    for at_address in addresses.values() {
        tallies.expect_once();
        if let Some(store) = at_address.iter().find(|store| store.password.is_some()) {
            let outcome = live::once(gate, store).await;
            tallies.tried(outcome, settings);
        }
        console(at_address, settings, gate, tallies).await;
    }
    let total = work.len() as u64;
    progress("trying the tenants' own logins", 0, total);
    let mut results = stream::iter(work)
        .map(|(store, victims)| async move {
            let journal = settings.sittings.as_deref();
            if let Some(outcome) = journal.and_then(|journal| journal.earlier(store)) {
                return (store, outcome);
            }
            let outcome = live::probe(gate, store, &victims).await;
            if let Some(journal) = journal {
                journal.keep(store, &outcome);
            }
            (store, outcome)
        })
        .buffer_unordered(gate.bound());
    let mut done = 0;
    let (mut canaries, mut nonces) = (0, besides::Nonces::new());
    let mut landed: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    while let Some((store, outcome)) = results.next().await {
        done += 1;
        progress("trying the tenants' own logins", done, total);
        if let Some(user) = outcome.user.as_ref().filter(|user| **user != store.login) {
            let place = (store.cluster(), user.clone());
            landed
                .entry(place)
                .or_default()
                .insert(store.tenant.clone());
        }
        if outcome.tried.contains_key("PG-205") {
            coverage.logins_tried += 1;
        }
        if let Some(nonce) = &outcome.nonce {
            let place = (
                store.cluster(),
                store.database.clone(),
                store.schema.clone(),
            );
            let of = nonces.entry(nonce.clone()).or_default();
            of.insert((place, store.tenant.clone()));
        }
        canaries += u64::from(outcome.tried.contains_key("PG-206"));
        if store.password.is_none() {
            tallies.no_password += 1;
        }
        coverage.probes += ["PG-201", "PG-202", "PG-203", "PG-204"]
            .iter()
            .filter_map(|id| outcome.tried.get(id))
            .sum::<u64>();
        tallies.tried(outcome, settings);
    }
    besides::landed(landed, coverage.logins_tried, settings, tallies);
    besides::canaries(canaries, coverage.logins_tried, nonces, settings, tallies);
    coverage.bound = if coverage.exhaustive {
        0.0
    } else {
        bound(coverage.probes)
    };
}
