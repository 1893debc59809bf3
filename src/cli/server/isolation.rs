//! Flags of `server start` about the check of isolation that the server runs by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::probes::ProbeArgs;
use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::cli::isolation::check::bad_waivers;
use crate::cli::isolation::{mongodb, rabbitmq, written};
use crate::config::variables::{SERVER_ISOLATION_EVERY, SERVER_ISOLATION_POSTGRES_URL};
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;
use crate::server::{IsolationSettings, read_baseline, read_waivers};

/// Returns the failure of a baseline that cannot be used.
fn bad_baseline(path: &Path, reason: String) -> Failure {
    Failure::new(
        Kind::Usage,
        "isolation.report",
        format!("`{}` is not a report of isolation check", path.display()),
    )
    .cause(reason)
    .hint("give what `lerianctl isolation check -o json` printed")
}

/// Shortest time between two checks.
const SHORTEST: Duration = Duration::from_secs(1);

/// The check of isolation on a schedule.
#[derive(Debug, Args)]
#[command(next_help_heading = "Check of isolation")]
pub struct IsolationArgs {
    /// Check isolation by itself, this often; of several servers on one registry one does. Off
    /// when absent [variable: LERIANCTL_SERVER_ISOLATION_EVERY]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    isolation_every: Option<Duration>,

    /// Longest time of one check; what takes longer counts as failed
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    isolation_timeout: Duration,

    /// Sessions that a check may have open at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    isolation_jobs: u16,

    /// Random derangements to try with the tenants' logins
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    isolation_derangements: u32,

    /// Try every pair of tenants, and look at every key of Redis; give `--isolation-timeout` the time
    #[arg(long, conflicts_with = "isolation_derangements")]
    isolation_exhaustive: bool,

    /// File with the postgres:// URL of a login that reads catalogues and plants breaches, one per
    /// cluster [default: the login that provisions] [variable: LERIANCTL_SERVER_ISOLATION_POSTGRES_URL]
    #[arg(long, value_name = "FILE")]
    isolation_postgres_url_file: Vec<PathBuf>,

    /// Plant no breach, for a login that may only read; the verdict is then at best "unproven"
    #[arg(long)]
    isolation_no_control: bool,

    /// File with an http(s)://user:password@host:15672 URL of RabbitMQ's management interface
    #[arg(long, value_name = "FILE")]
    isolation_rabbitmq_url_file: Vec<PathBuf>,

    /// Certificates to trust for RabbitMQ, PEM: the management interface, and AMQP over TLS
    #[arg(long, value_name = "FILE")]
    isolation_rabbitmq_ca_file: Option<PathBuf>,

    /// File with the mongodb:// URL of an administrator, one per deployment
    #[arg(long, value_name = "FILE")]
    isolation_mongodb_url_file: Vec<PathBuf>,

    /// Certificates to trust for MongoDB, PEM
    #[arg(long, value_name = "FILE")]
    isolation_mongodb_ca_file: Option<PathBuf>,

    /// File of findings that somebody answers for; read again before each check
    #[arg(long, value_name = "FILE")]
    isolation_waivers: Option<PathBuf>,

    /// Earlier report (-o json); only what it does not have fails; read again before each check
    #[arg(long, value_name = "FILE")]
    isolation_baseline: Option<PathBuf>,

    /// Sign each report with this Ed25519 key (PEM)
    #[arg(long, value_name = "FILE")]
    isolation_sign_key_file: Option<PathBuf>,

    #[command(flatten)]
    probes: ProbeArgs,
}

impl IsolationArgs {
    /// Returns how isolation is checked; nothing when that was not asked for.
    pub fn settings(&self, run: &Invocation) -> Result<Option<IsolationSettings>, Failure> {
        let every = match (
            self.isolation_every,
            run.environment.variable(SERVER_ISOLATION_EVERY),
        ) {
            (Some(every), _) => every,
            (None, Some(text)) if !text.is_empty() => duration(text).map_err(|reason| {
                let text = format!("{SERVER_ISOLATION_EVERY} is no duration: {reason}");
                Failure::new(Kind::Usage, "usage", text)
            })?,
            _ => return Ok(None),
        };
        if every < SHORTEST {
            let text = "isolation is checked every second at most (`--isolation-every`)";
            return Err(Failure::new(Kind::Usage, "usage", text));
        }
        let mut auditors = Vec::new();
        for path in &self.isolation_postgres_url_file {
            auditors.push(run.read_secret(path, "the PostgreSQL URL")?);
        }
        if auditors.is_empty() {
            let variable = run.environment.variable(SERVER_ISOLATION_POSTGRES_URL);
            auditors.extend(variable.filter(|url| !url.is_empty()).map(Secret::new));
        }
        let auditors = auditors
            .iter()
            .map(|url| PostgresEndpoint::parse_url(url.expose()))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &self.isolation_waivers {
            read_waivers(path).map_err(|reason| bad_waivers(path, reason))?;
        }
        if let Some(path) = &self.isolation_baseline {
            read_baseline(path).map_err(|reason| bad_baseline(path, reason))?;
        }
        let ca = rabbitmq::certificates(run, self.isolation_rabbitmq_ca_file.as_deref())?;
        let signer = match &self.isolation_sign_key_file {
            Some(path) => Some(Arc::new(written::signing_key(run, path)?)),
            None => None,
        };
        Ok(Some(IsolationSettings {
            every,
            timeout: self.isolation_timeout,
            sessions: usize::from(self.isolation_jobs),
            derangements: self.isolation_derangements,
            exhaustive: self.isolation_exhaustive,
            control: !self.isolation_no_control,
            auditors,
            brokers: rabbitmq::brokers(run, &self.isolation_rabbitmq_url_file, ca.as_deref())?,
            rabbitmq_ca: ca,
            mongodb: mongodb::options(
                run,
                &self.isolation_mongodb_url_file,
                self.isolation_mongodb_ca_file.as_deref(),
                &[],
            )?,
            products: self.probes.probes(run)?,
            waivers: self.isolation_waivers.clone(),
            baseline: self.isolation_baseline.clone(),
            signer,
        }))
    }
}
