//! `lerianctl isolation check`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::kafka::KafkaArgs;
use super::mongodb::MongodbArgs;
use super::rabbitmq::RabbitmqArgs;
use super::redis::RedisArgs;
use super::show::Served;
use super::sittings::{self, SittingArgs};
use super::written::ReportArgs;
use super::{fleet, show, view};
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::contract::ServiceName;
use crate::isolation::catalogue;
use crate::isolation::inventory::Inventory;
use crate::isolation::model::{Family, Severity};
use crate::isolation::report::Isolation;
use crate::isolation::run::{Settings, run};
use crate::isolation::verdict::{Bar, Waivers, passes};
use crate::link::postgres::PostgresEndpoint;
use crate::output::progress::Progress;
use crate::output::{Report, Rows, View};

/// Largest file of waivers or baseline.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Prove, or refute, that no tenant reaches another's data
///
/// Compares what tenants are handed, reads the catalogues of every cluster and database, and tries
/// with the tenants' own logins what must fail; looks at keys, users and subscribers of Redis, where
/// one is configured. All pairs of tenants are proved from the catalogues;
/// live probes confirm random ones, all with --exhaustive. Nothing is written to a tenant's data;
/// what could write is rolled back. In each run breaches are planted in a transaction that is rolled
/// back, with a login that may do so (--postgres-url-file): only a checker that finds those is
/// believed. With --recipe running products are probed over HTTP too, with the tokens of two tenants
/// that may be probed. Status 3 unless the verdict is that isolation holds.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation check --postgres-url-file admin.url\n  lerianctl isolation check --inventory tenants.toml --postgres-url-file admin.url\n  lerianctl isolation check --no-control --static --check PG-001 --check PG-002\n  lerianctl isolation check --waivers waivers.toml --baseline last.json --fail-on high -o json\n  lerianctl isolation check --product-env ledger.env --product-env tracer=t.env --replicas 3\n  lerianctl isolation check --recipe ledger --token-a-file a.token --token-b-file b.token --probe-writes\n  lerianctl isolation check --report html=isolation.html --report sarif=isolation.sarif"
)]
pub struct CheckArgs {
    /// File that lists databases and logins by tenant, instead of the Tenant Manager; TOML or JSON
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    /// Only this service; may be repeated. Needed with a server that only speaks the contract
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Vec<ServiceName>,

    /// File with a postgres:// URL that reads catalogues and plants breaches; one per cluster
    #[arg(long, value_name = "FILE")]
    postgres_url_file: Vec<PathBuf>,

    #[command(flatten)]
    products: super::products::ProductArgs,

    #[command(flatten)]
    http: super::http::HttpArgs,

    /// Only this check; may be repeated
    #[arg(long, value_name = "ID", add = ArgValueCandidates::new(complete::checks))]
    check: Vec<String>,

    /// Do not try the tenants' logins
    #[arg(long = "static", conflicts_with = "exhaustive")]
    only_static: bool,

    /// Random derangements to try: each tenant probes one other, each is probed once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    derangements: u32,

    /// Try every pair of tenants
    #[arg(long, conflicts_with = "derangements")]
    exhaustive: bool,

    /// Seed of the derangements, to repeat a run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Sessions that PostgreSQL has of us at most, at any time and on all clusters together
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,

    /// Plant no breach: for a login that may only read. The verdict is then at best "unproven"
    #[arg(long)]
    no_control: bool,

    #[command(flatten)]
    redis: RedisArgs,

    #[command(flatten)]
    rabbitmq: RabbitmqArgs,

    #[command(flatten)]
    mongodb: MongodbArgs,

    #[command(flatten)]
    kafka: KafkaArgs,

    /// File of findings that somebody answers for, with owner, reason and last day
    #[arg(long, value_name = "FILE")]
    waivers: Option<PathBuf>,

    /// Earlier report (-o json); only what it does not have fails
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Findings below this do not fail
    #[arg(long, value_name = "SEVERITY", default_value = "low")]
    fail_on: Severity,

    /// Accept "unproven" when nothing was found
    #[arg(long)]
    accept_unproven: bool,

    #[command(flatten)]
    sittings: SittingArgs,

    #[command(flatten)]
    reports: ReportArgs,
}

impl CheckArgs {
    /// Reads the logins that read catalogues and plant breaches.
    pub(super) fn auditors(&self, run: &Invocation) -> Result<Vec<PostgresEndpoint>, Failure> {
        operators(run, &self.postgres_url_file)
    }
}

/// Reads logins of the operator, one per cluster.
pub(super) fn operators(
    run: &Invocation,
    files: &[PathBuf],
) -> Result<Vec<PostgresEndpoint>, Failure> {
    let read = |path: &PathBuf| {
        let url = run.read_secret(path, "the PostgreSQL URL")?;
        Ok(PostgresEndpoint::parse_url(url.expose())?)
    };
    files.iter().map(read).collect()
}

/// Returns the failure of a file of waivers that cannot be used.
pub fn bad_waivers(path: &Path, reason: String) -> Failure {
    Failure::new(
        Kind::Usage,
        "isolation.waivers",
        format!("the waivers in `{}` cannot be used", path.display()),
    )
    .cause(reason)
}

/// Returns the folders of this program, and the files there that were named for a password.
fn own_files(run: &Invocation, args: &CheckArgs) -> (Vec<PathBuf>, BTreeSet<PathBuf>) {
    let environment = &run.environment;
    let folders = [
        environment.config_folder(),
        environment.data_folder(),
        environment.state_folder(),
        environment.cache_folder(),
    ];
    let named = args.postgres_url_file.iter().chain(&args.inventory);
    (
        folders.into_iter().flatten().collect(),
        named.cloned().collect(),
    )
}

/// Checks the fleet.
pub fn check(run_: &Invocation, args: &CheckArgs) -> Result<IsolationReport, Failure> {
    let signer = args.reports.signer(run_)?;
    let mut settings = Settings::new(run_.environment.now());
    for id in &args.check {
        known(id)?;
    }
    settings.only.clone_from(&args.check);
    settings.live = !args.only_static;
    settings.derangements = args.derangements;
    settings.exhaustive = args.exhaustive;
    settings.jobs = usize::from(args.jobs);
    settings.control = !args.no_control;
    args.products.apply(run_, &mut settings)?;
    if let Some(seed) = args.seed {
        settings.seed = seed;
    }
    settings.auditors = args.auditors(run_)?;
    if let Some(path) = &args.waivers {
        let text = run_.read_input(path, FILE_BYTES, "the waivers")?;
        settings.waivers = Waivers::parse(&String::from_utf8_lossy(&text))
            .map_err(|reason| bad_waivers(path, reason))?;
    }
    if let Some(path) = &args.baseline {
        settings.baseline = show::read(run_, path)?.findings;
    }
    let inventory = if let Some(path) = &args.inventory {
        fleet::from_file(run_, path)?
    } else if args.http.asked() && only_http(args) {
        Inventory {
            source: "running products".into(),
            ..Inventory::default()
        }
    } else {
        let manager = run_.tenant_manager().map_err(|failure| {
            failure.hint("or list the tenants in a file and name it with `--inventory FILE`")
        })?;
        let services = args.service.clone();
        run_.block_on(async move { fleet::from_manager(&manager, &services).await })?
    };
    settings.http = args.http.targets(run_, &inventory)?;
    let of_tenants = [
        inventory.stores.len(),
        inventory.messaging.len(),
        inventory.documents.len(),
        inventory.streaming.len(),
        inventory.objects.len(),
    ];
    if of_tenants == [0; 5] && settings.http.is_empty() {
        return Err(Failure::new(
            Kind::NotFound,
            "isolation.nothing",
            format!(
                "{} has no databases or virtual hosts of tenants",
                inventory.source
            ),
        ));
    }
    settings.redis = args.redis.options(run_, args.exhaustive)?;
    settings.rabbitmq = args.rabbitmq.options(run_)?;
    settings.mongodb = args.mongodb.options(run_)?;
    settings.kafka = args.kafka.options(run_)?;
    settings.files = own_files(run_, args);
    args.sittings
        .open(run_, &inventory, &mut settings, args.seed)?;
    let progress = Progress::new(&run_.console, "isolation", 0);
    let since = Mutex::new((String::new(), Instant::now()));
    let outcome = run_.block_on(async {
        Ok::<_, Failure>(
            run(&inventory, &settings, &|text, done, total| {
                progress.set_with(done, total, text, &rest(&since, text, done, total));
            })
            .await,
        )
    });
    let outcome = outcome.map_err(|failure| sittings::cut_short(&settings, failure))?;
    drop(progress);
    let report = IsolationReport::new(
        outcome,
        Bar {
            fail_on: args.fail_on,
            only_new: args.baseline.is_some(),
        },
        args.accept_unproven,
    );
    if let Err(reason) = show::keep(run_, &report) {
        run_.console
            .warn(format!("the report is not kept: {reason}"));
    }
    sittings::over(run_, &settings);
    args.reports.write(run_, &report, signer.as_ref())?;
    Ok(report)
}

/// Work that takes less says no time.
const SHORT: Duration = Duration::from_secs(3);

/// Says how long the rest will take, once a part of it has shown how fast it goes.
fn rest(since: &Mutex<(String, Instant)>, text: &str, done: u64, total: u64) -> String {
    let Ok(mut since) = since.lock() else {
        return String::new();
    };
    if since.0 != text {
        *since = (text.to_owned(), Instant::now());
    }
    let elapsed = since.1.elapsed();
    match (
        u32::try_from(done),
        u32::try_from(total.saturating_sub(done)),
    ) {
        (Ok(done), Ok(rest)) if done > 0 && rest > 0 && elapsed >= SHORT => {
            let rest = elapsed / done * rest;
            format!(", about {} s left", rest.as_secs().max(1))
        }
        _ => String::new(),
    }
}

/// Returns true when every check that is wanted is about running products, and none about what is
/// behind them.
fn only_http(args: &CheckArgs) -> bool {
    let http = |id: &String| {
        catalogue::find(id).is_some_and(|c| c.family == Family::Http && c.id != "PG-207")
    };
    !args.check.is_empty() && args.check.iter().all(http)
}

/// Returns the failure for an id that no check has.
pub fn known(id: &str) -> Result<&'static crate::isolation::model::Check, Failure> {
    catalogue::find(id).ok_or_else(|| {
        let upper = id.to_uppercase();
        let near = catalogue::all()
            .iter()
            .map(|check| check.id)
            .max_by(|a, b| strsim::jaro(&upper, a).total_cmp(&strsim::jaro(&upper, b)))
            .unwrap_or_default();
        Failure::new(
            Kind::NotFound,
            "isolation.unknown_check",
            format!("there is no check `{id}`"),
        )
        .hint_command(
            format!("did you mean `{near}`? list them"),
            "lerianctl isolation list",
        )
    })
}

/// What a run found, and whether that passes.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolationReport {
    /// True when the exit status is 0.
    pub passed: bool,
    /// Severity from which findings fail.
    pub fail_on: Severity,
    /// What the server says of it whose last report this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Isolation,
}

impl IsolationReport {
    /// Decides whether an outcome passes.
    pub fn new(outcome: Isolation, bar: Bar, accept_unproven: bool) -> Self {
        Self {
            passed: passes(&outcome, bar, accept_unproven),
            fail_on: bar.fail_on,
            served: None,
            outcome,
        }
    }
}

impl Report for IsolationReport {
    const KIND: &'static str = "IsolationReport";

    fn human(&self, out: &mut View) -> fmt::Result {
        view::write(self, out);
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let findings = &self.outcome.findings;
        Some(Rows {
            columns: vec!["check", "severity", "object", "from", "to", "evidence"],
            wide: vec!["store", "title", "remedy", "waived", "known", "fingerprint"],
            cells: findings
                .iter()
                .map(|finding| {
                    vec![
                        finding.check.clone(),
                        finding.severity.to_string(),
                        finding.object.clone(),
                        finding.from.join(" "),
                        finding.to.join(" "),
                        finding.evidence.clone(),
                        finding.store.clone(),
                        finding.title.clone(),
                        finding.remedy.join("\n"),
                        (!finding.counts()).to_string(),
                        finding.known.to_string(),
                        finding.fingerprint.clone(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(findings),
        })
    }

    fn ok(&self) -> bool {
        self.passed
    }
}
