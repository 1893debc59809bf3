//! Wire types of our extensions under `/v1/admin/…`.
//!
//! Nothing here is part of the upstream contract. `{tenant}` in a path is an id or a slug.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{Environment, ServiceName, Slug, TenantId};
use super::wire::{ConnectionSettings, IsolationMode, Owner};

/// State of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// Served.
    Active,
    /// Refused with 403 for every service.
    Suspended,
    /// Being purged, or purged: refused with 403 and `purged`.
    Purged,
}

impl TenantStatus {
    /// Returns the wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Purged => "purged",
        }
    }
}

/// State of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AssociationStatus {
    /// Its databases are being made; not handed out yet.
    Provisioning,
    /// Handed out.
    Active,
    /// Refused with 403.
    Suspended,
    /// Being removed, or removed with its data: refused with 403 and `purged`.
    Purged,
}

impl AssociationStatus {
    /// Returns the wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Purged => "purged",
        }
    }
}

/// A tenant as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantRecord {
    /// Canonical id.
    pub id: TenantId,
    /// Human handle.
    pub slug: Slug,
    /// Display name.
    pub name: String,
    /// Environment.
    pub environment: Environment,
    /// Default isolation mode of its associations.
    pub isolation_mode: IsolationMode,
    /// State.
    pub status: TenantStatus,
    /// Free text pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// E-mail of the owner; empty when unknown.
    #[serde(default)]
    pub owner_email: String,
    /// Associations, by service name.
    #[serde(default)]
    pub services: Vec<AssociationRecord>,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
}

/// An association of a tenant with a service; without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssociationRecord {
    /// Service.
    pub service: ServiceName,
    /// Isolation mode.
    pub isolation_mode: IsolationMode,
    /// State.
    pub status: AssociationStatus,
    /// Version of the credentials handed out, from 1; 0 before the first.
    pub credentials_version: u64,
    /// Pool settings.
    #[serde(default)]
    pub connection_settings: ConnectionSettings,
    /// Databases or schemas, by module.
    #[serde(default)]
    pub databases: Vec<DatabaseRecord>,
    /// Stores of the service that are not provisioned by this server, as `module/store`.
    #[serde(default)]
    pub not_provisioned: Vec<String>,
}

/// A provisioned database, or schema in a shared database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRecord {
    /// Tenant.
    pub tenant_id: TenantId,
    /// Slug of the tenant.
    pub tenant_slug: Slug,
    /// Service.
    pub service: ServiceName,
    /// Module.
    pub module: String,
    /// Isolation mode.
    pub isolation_mode: IsolationMode,
    /// Cluster it lives on.
    pub cluster: String,
    /// Host that products connect to.
    pub host: String,
    /// Port that products connect to.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Schema, in schema mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Owner role, which cannot log in.
    pub owner: String,
    /// Login role that is handed out now.
    pub login: String,
}

/// One page of tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantPage {
    /// Tenants by slug, then id.
    pub items: Vec<TenantRecord>,
    /// Pass as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// Body of `POST /v1/admin/tenants`: create, associate and provision in one go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateTenantRequest {
    /// Display name.
    pub name: String,
    /// Human handle; derived from the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Id to use; random when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Environment.
    pub environment: String,
    /// Isolation mode of the associations made here.
    pub isolation_mode: IsolationMode,
    /// Services to associate and provision.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// Free text pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Owner.
    #[serde(default)]
    pub owner: Owner,
    /// Pool settings of the associations made here.
    #[serde(default)]
    pub connection_settings: ConnectionSettings,
    /// Accept an isolation mode that the catalogue refuses.
    #[serde(default)]
    pub force: bool,
    /// Validate and plan, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Refuse unless the plan has this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_plan: Option<String>,
}

/// Body of `PATCH /v1/admin/tenants/{tenant}`; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateTenantRequest {
    /// New display name.
    pub name: Option<String>,
    /// Pairs to set; an empty value removes the key.
    pub metadata: BTreeMap<String, String>,
    /// New e-mail of the owner.
    pub owner_email: Option<String>,
    /// New pool settings for every association.
    pub connection_settings: Option<ConnectionSettings>,
    /// Validate and plan, change nothing.
    pub dry_run: bool,
    /// Refuse unless the plan has this hash.
    pub expect_plan: Option<String>,
}

/// Body of `POST /v1/admin/tenants/{tenant}/services/{service}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddServiceRequest {
    /// Isolation mode; the tenant's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_mode: Option<IsolationMode>,
    /// Pool settings.
    #[serde(default)]
    pub connection_settings: ConnectionSettings,
    /// Accept an isolation mode that the catalogue refuses.
    #[serde(default)]
    pub force: bool,
    /// Validate and plan, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Refuse unless the plan has this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_plan: Option<String>,
}

/// Body of the other changes: suspend, reactivate, rotate, purge, remove, invalidate, provision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangeRequest {
    /// Only this service; every service of the tenant when absent.
    pub service: Option<ServiceName>,
    /// Seconds that a retired login stays valid (rotate); the server's default when absent.
    pub grace_seconds: Option<u64>,
    /// Drop the data too (remove); purge always does.
    pub drop_data: bool,
    /// Reason, for the event and the log.
    pub reason: Option<String>,
    /// Validate and plan, change nothing.
    pub dry_run: bool,
    /// Refuse unless the plan has this hash.
    pub expect_plan: Option<String>,
}

/// A planned step: what it does and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// What it does, for example `create database`.
    pub action: String,
    /// To what, for example `pg-main/aurora_onboarding`.
    pub target: String,
    /// SQL without secrets, when the step is SQL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sql: Vec<String>,
}

/// What would be done, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Steps in order.
    pub steps: Vec<PlannedStep>,
    /// Event types that will be published.
    #[serde(default)]
    pub events: Vec<String>,
    /// Things the operator should know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// `sha256:…` over steps and events.
    pub hash: String,
}

impl Plan {
    /// Builds a plan and its hash.
    pub fn new(steps: Vec<PlannedStep>, events: Vec<String>, warnings: Vec<String>) -> Self {
        let text = serde_json::to_vec(&(&steps, &events)).expect("a plan serialises");
        let hash = format!("sha256:{}", crate::secret::sha256_hex(&text));
        Self {
            steps,
            events,
            warnings,
            hash,
        }
    }
}

/// Answer of every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// False when everything was so already.
    pub changed: bool,
    /// True when nothing was done because only a plan was asked for.
    #[serde(default)]
    pub dry_run: bool,
    /// The tenant after the change (before it, in a dry run); absent when it would be new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantRecord>,
    /// What is, or would be, done.
    pub plan: Plan,
    /// Runs on when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationRecord>,
}

/// State of an operation or of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Not begun.
    Pending,
    /// Under way, or to be taken up again.
    Running,
    /// Done.
    Succeeded,
    /// Given up; the error says why.
    Failed,
}

impl OperationState {
    /// Returns the wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Returns true when nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A long-running change made of recorded steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationRecord {
    /// UUID of version 7.
    pub id: String,
    /// `provision`, `rotate`, `purge` or `remove`.
    pub kind: String,
    /// Tenant.
    pub tenant_id: TenantId,
    /// Slug of the tenant.
    pub tenant_slug: Slug,
    /// Services concerned.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// State.
    pub state: OperationState,
    /// Steps in order.
    #[serde(default)]
    pub steps: Vec<OperationStep>,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Times it was taken up.
    pub attempts: u32,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
}

/// A step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStep {
    /// What it does.
    pub action: String,
    /// To what.
    pub target: String,
    /// State.
    pub state: OperationState,
    /// What was found or proved, when done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// A page of operations, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationPage {
    /// Operations.
    pub items: Vec<OperationRecord>,
    /// Pass as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// A list of databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseList {
    /// Databases and schemas by tenant, service and module.
    pub items: Vec<DatabaseRecord>,
}

/// Answer of `POST /v1/admin/tenants/{tenant}/verify`: claims tried with the tenant's own login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Claims in the order tried.
    pub claims: Vec<Claim>,
}

/// A claim that was tried, not assumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Database or schema it is about.
    pub subject: String,
    /// What should be so.
    pub claim: String,
    /// Whether it was.
    pub holds: bool,
    /// What was seen, without secrets.
    pub evidence: String,
}

/// Answer of `GET /v1/admin/info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Version of the server.
    pub version: String,
    /// Where products listen for events: `host:port` of the event Redis; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_redis: Option<String>,
    /// True for a development stack.
    pub development: bool,
    /// Seconds for which a retired login stays valid after a rotation that says nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_grace_seconds: Option<u64>,
}
