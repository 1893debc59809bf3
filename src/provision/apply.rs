//! Applies steps to a cluster.

use super::Cluster;
use super::plan::{DatabaseSpec, Step};
use crate::contract::admin::Claim;
use crate::link::LinkError;
use crate::secret::Secret;

/// Why a step could not be done. Never holds a secret or SQL with one.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// No cluster of that name is configured.
    #[error("cluster `{0}` is not configured on this server")]
    UnknownCluster(String),
    /// The cluster cannot be reached, or refused us; worth trying again.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Something of that name exists and does not carry this tenant's mark.
    #[error("{object} exists and was not made for this tenant: {found}")]
    Foreign {
        /// What, for example: database `aurora_onboarding`.
        object: String,
        /// The mark that was found, or that there is none.
        found: String,
    },
    /// The admin role lacks a right.
    #[error("the provisioning role may not {action}: {reason}")]
    Privilege {
        /// What was tried.
        action: String,
        /// What PostgreSQL said.
        reason: String,
    },
    /// A claim that must hold did not: the step fails and nothing is handed out.
    #[error("isolation is not proved: {0}")]
    NotProved(String),
    /// PostgreSQL refused a statement.
    #[error("{action} failed: {reason}")]
    Sql {
        /// Which step, for whom.
        action: String,
        /// SQLSTATE and message.
        reason: String,
        /// True for lost connections, serialisation failures, shutdowns, full disks: try again.
        transient: bool,
    },
}

impl ProvisionError {
    /// Returns true when the same step may succeed later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Link(LinkError::Unreachable { .. }) => true,
            Self::Sql { transient, .. } => *transient,
            _ => false,
        }
    }
}

/// Applies steps to the configured clusters, with bounded connections.
#[derive(Debug)]
pub struct Provisioner {
    _clusters: Vec<Cluster>,
}

impl Provisioner {
    /// Takes the clusters; connects lazily.
    pub fn new(clusters: Vec<Cluster>) -> Self {
        Self {
            _clusters: clusters,
        }
    }

    /// Returns the cluster called `name`.
    pub fn cluster(&self, _name: &str) -> Result<&Cluster, ProvisionError> {
        unimplemented!()
    }

    /// Runs one step and returns what was found or proved, for the operation's record.
    ///
    /// `password` is needed by `Roles`, `OpenLogin` and `Prove`. `foreign` is another tenant's
    /// module on the same cluster, for the proof of refusal.
    pub async fn run(
        &self,
        _spec: &DatabaseSpec,
        _step: &Step,
        _password: Option<&Secret>,
        _foreign: Option<&DatabaseSpec>,
    ) -> Result<String, ProvisionError> {
        unimplemented!()
    }

    /// Tries every claim with the tenant's own login, and returns all of them, held or not.
    pub async fn prove(
        &self,
        _spec: &DatabaseSpec,
        _slot: super::Slot,
        _password: &Secret,
        _foreign: Option<&DatabaseSpec>,
    ) -> Result<Vec<Claim>, ProvisionError> {
        unimplemented!()
    }

    /// Returns true when every cluster answers `SELECT 1` within two seconds.
    pub async fn ready(&self) -> bool {
        unimplemented!()
    }
}
