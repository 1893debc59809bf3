//! Applies steps to a cluster.

mod error;
mod inspect;
mod link;
mod logins;
mod make;
mod remove;

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::future::join_all;

use super::naming::MAX_IDENTIFIER;
use super::plan::{DatabaseSpec, Step};
use super::{Cluster, prove};
use crate::contract::admin::Claim;
use crate::contract::wire::IsolationMode;
use crate::link::postgres::SessionUse;
use crate::secret::Secret;

pub use error::ProvisionError;
pub(super) use error::sql_error;
use link::ClusterLink;

/// How long a step tries again by itself what may pass: a lost connection, a privilege that
/// another session is changing. After that it is for the caller to decide.
const RETRY_FOR: Duration = Duration::from_secs(8);
/// Longest time that a cluster has to answer when it is asked whether it is ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Applies steps to the configured clusters, with bounded connections.
#[derive(Debug)]
pub struct Provisioner {
    links: Vec<ClusterLink>,
}

impl Provisioner {
    /// Takes the clusters; connects lazily.
    pub fn new(clusters: Vec<Cluster>) -> Self {
        Self {
            links: clusters.into_iter().map(ClusterLink::new).collect(),
        }
    }

    /// Returns the cluster called `name`.
    pub fn cluster(&self, name: &str) -> Result<&Cluster, ProvisionError> {
        Ok(&self.link(name)?.cluster)
    }

    /// Returns how the kept sessions with each cluster are used, by its name.
    pub fn sessions(&self) -> impl Iterator<Item = (&str, SessionUse)> {
        self.links
            .iter()
            .map(|link| (link.cluster.name.as_str(), link.sessions()))
    }

    fn link(&self, name: &str) -> Result<&ClusterLink, ProvisionError> {
        self.links
            .iter()
            .find(|link| link.cluster.name == name)
            .ok_or_else(|| ProvisionError::UnknownCluster(name.to_owned()))
    }

    /// Runs one step and returns what was found or proved, for the operation's record.
    ///
    /// `password` is needed by `Roles`, `OpenLogin` and `Prove`. `foreign` is another tenant's
    /// module on the same cluster, for the proof of refusal.
    pub async fn run(
        &self,
        spec: &DatabaseSpec,
        step: &Step,
        password: Option<&Secret>,
        foreign: Option<&DatabaseSpec>,
    ) -> Result<String, ProvisionError> {
        let link = self.link(&spec.cluster)?;
        let work = Work {
            link,
            spec,
            action: format!("{} for {}", step.planned(spec).action, spec.place()),
        };
        work.check_names()?;
        let verifier = match step {
            Step::Roles { .. } | Step::OpenLogin { .. } => work.verifier(password).await?,
            _ => String::new(),
        };
        let attempt = || async {
            match step {
                Step::Prepare => work.prepare().await,
                Step::Roles { slot } => work.roles(*slot, &verifier).await,
                Step::Database => work.database().await,
                Step::Schema => work.schema().await,
                Step::Prove { slot } => {
                    let password = work.password(password)?;
                    let claims = prove::claims(&link.cluster, spec, *slot, password, foreign);
                    proved(&claims.await?)
                }
                Step::OpenLogin { slot } => work.open_login(*slot, &verifier).await,
                Step::CloseLogin { slot } => work.close_login(*slot).await,
                Step::CloseAll => work.close_all().await,
                Step::DropData => work.drop_data().await,
                Step::DropRoles => work.drop_roles().await,
            }
        };
        retrying(attempt).await
    }

    /// Tries every claim with the tenant's own login, and returns all of them, held or not.
    pub async fn prove(
        &self,
        spec: &DatabaseSpec,
        slot: super::Slot,
        password: &Secret,
        foreign: Option<&DatabaseSpec>,
    ) -> Result<Vec<Claim>, ProvisionError> {
        let link = self.link(&spec.cluster)?;
        retrying(|| prove::claims(&link.cluster, spec, slot, password, foreign)).await
    }

    /// Returns true when every cluster answers `SELECT 1` within two seconds.
    pub async fn ready(&self) -> bool {
        let answers = self.links.iter().map(|link| async {
            let answer = async {
                let session = link.maintenance().await.ok()?;
                session.simple_query("SELECT 1").await.ok()
            };
            matches!(
                tokio::time::timeout(READY_WITHIN, answer).await,
                Ok(Some(_))
            )
        });
        join_all(answers).await.into_iter().all(|ready| ready)
    }
}

/// Tries again for a while what may pass, and once what changed under our eyes.
async fn retrying<T, F>(attempt: impl FnMut() -> F) -> Result<T, ProvisionError>
where
    F: Future<Output = Result<T, ProvisionError>>,
{
    let started = Instant::now();
    let mut vanished = 0;
    let policy = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(12)
        .with_jitter();
    attempt
        .retry(policy)
        .when(|error: &ProvisionError| {
            vanished += u32::from(error.is_vanished());
            let may_pass = error.is_transient() || (error.is_vanished() && vanished == 1);
            may_pass && started.elapsed() < RETRY_FOR
        })
        .notify(|error, delay| tracing::debug!(%error, ?delay, "a step is tried again"))
        .await
}

fn proved(claims: &[Claim]) -> Result<String, ProvisionError> {
    match claims.iter().find(|claim| !claim.holds) {
        Some(claim) => Err(ProvisionError::NotProved(format!(
            "{}: {} ({})",
            claim.subject, claim.claim, claim.evidence
        ))),
        None => Ok(format!("{} claims hold", claims.len())),
    }
}

/// One step at work.
struct Work<'a> {
    link: &'a ClusterLink,
    spec: &'a DatabaseSpec,
    action: String,
}

impl Work<'_> {
    fn sql(&self, error: &tokio_postgres::Error) -> ProvisionError {
        sql_error(&self.action, error)
    }

    /// Returns a failure that trying again does not mend.
    fn refuse(&self, reason: impl Into<String>) -> ProvisionError {
        ProvisionError::Sql {
            action: self.action.clone(),
            reason: reason.into(),
            transient: false,
        }
    }

    /// PostgreSQL cuts long names without an error, and two tenants could meet in one name.
    fn check_names(&self) -> Result<(), ProvisionError> {
        let names = &self.spec.names;
        let mut all = vec![names.database.as_str()];
        all.extend(self.spec.roles());
        all.extend(names.schema.as_deref());
        for name in all {
            if name.is_empty() || name.len() > MAX_IDENTIFIER || name.contains('\0') {
                return Err(self.refuse(format!(
                    "`{}` is not a name of 1 to {MAX_IDENTIFIER} bytes",
                    name.escape_debug()
                )));
            }
        }
        if names.schema.is_some() != (self.spec.mode == IsolationMode::Schema) {
            return Err(self.refuse("the names do not fit the isolation mode"));
        }
        Ok(())
    }

    fn password<'p>(&self, password: Option<&'p Secret>) -> Result<&'p Secret, ProvisionError> {
        password
            .filter(|password| !password.is_empty())
            .ok_or_else(|| self.refuse("no password was given"))
    }

    /// Returns the SCRAM verifier of the password, so that the server and its logs never see it.
    async fn verifier(&self, password: Option<&Secret>) -> Result<String, ProvisionError> {
        let password = self.password(password)?.clone();
        // Thousands of hash rounds: not on a thread that others wait for.
        tokio::task::spawn_blocking(move || {
            postgres_protocol::password::scram_sha_256(password.expose().as_bytes())
        })
        .await
        .map_err(|error| ProvisionError::unfinished(&self.action, &error))
    }
}
