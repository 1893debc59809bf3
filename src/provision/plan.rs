//! Plans: the steps that make, rotate and remove one module's database. Pure.

use serde::{Deserialize, Serialize};

use super::naming::Names;
use crate::contract::admin::PlannedStep;
use crate::contract::wire::{ConnectionSettings, IsolationMode};
use crate::contract::{ServiceName, Slug, TenantId};

/// What to provision for one module of a tenant. Stored in the registry; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSpec {
    /// Tenant.
    pub tenant_id: TenantId,
    /// Slug of the tenant, for marks and plans.
    pub tenant_slug: Slug,
    /// Service.
    pub service: ServiceName,
    /// Module.
    pub module: String,
    /// Isolation mode.
    pub mode: IsolationMode,
    /// Name of the [`super::Cluster`].
    pub cluster: String,
    /// Names on the cluster.
    pub names: Names,
    /// Limits and timeouts that are set on the roles.
    pub settings: ConnectionSettings,
}

/// Which of the two login roles: 0 or 1. Credentials version `v` (from 1) uses slot `(v - 1) % 2`.
pub type Slot = usize;

/// One idempotent step. Running it again after a crash, at any point, completes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Cluster-wide: the role that owns databases, and in schema mode the shared database.
    Prepare,
    /// Owner and login roles with limits, marks and the password of `slot`.
    Roles {
        /// Login that gets the password; the other cannot log in.
        slot: Slot,
    },
    /// The database (database mode), from `template0`, closed to `PUBLIC`.
    Database,
    /// The schema and the privileges inside the database.
    Schema,
    /// Log in with `slot`'s password and try: own reach, refusal by others, no wider rights.
    Prove {
        /// Login to try.
        slot: Slot,
    },
    /// Rotation: give the idle login of `slot` its new password and let it log in.
    OpenLogin {
        /// Login to open.
        slot: Slot,
    },
    /// Rotation: retire the login of `slot`: no login, no password, sessions ended, objects
    /// reassigned to the owner.
    CloseLogin {
        /// Login to close.
        slot: Slot,
    },
    /// Removal: no login for either role, and every session ended.
    CloseAll,
    /// Removal: drop the schema with its content, or the database.
    DropData,
    /// Removal: drop the roles.
    DropRoles,
}

/// Returns the steps that provision `spec` with `slot` as the login handed out.
pub fn provision_steps(_spec: &DatabaseSpec, _slot: Slot) -> Vec<Step> {
    unimplemented!()
}

/// Returns the steps before the new credentials are handed out: open the idle login and prove it.
pub fn rotate_steps(_spec: &DatabaseSpec, _new: Slot) -> Vec<Step> {
    unimplemented!()
}

/// Returns the steps after the grace period: close the login that was handed out before.
pub fn retire_steps(_spec: &DatabaseSpec, _old: Slot) -> Vec<Step> {
    unimplemented!()
}

/// Returns the steps that remove `spec`, with its data or (`drop_data` false) only its logins.
pub fn remove_steps(_spec: &DatabaseSpec, _drop_data: bool) -> Vec<Step> {
    unimplemented!()
}

impl Step {
    /// Describes the step for a plan; SQL is shown with the password left out.
    pub fn planned(&self, _spec: &DatabaseSpec) -> PlannedStep {
        unimplemented!()
    }
}
