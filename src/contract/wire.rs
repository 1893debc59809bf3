//! The Tenant Manager contract as Lerian's products speak it (endpoints 1 to 7).
//!
//! Source of every rule: the shared reference `tenant-manager-http`, sections 3 to 7. Field names
//! are camelCase; timestamps are RFC 3339 and are left out, never empty, when unknown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{ServiceName, Slug, TenantId};

/// Answer of `GET /v1/tenants/{tenantId}/associations/{service}/connections`.
///
/// Holds passwords in clear: the contract wants it so. Never log it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantConfig {
    /// Canonical tenant id.
    pub id: String,
    /// Human handle of the tenant.
    pub tenant_slug: String,
    /// Display name of the tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_name: String,
    /// Service that the connections are for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Informational; only HTTP 403 suspends.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// `""`, `isolated` and `database`: own database; `schema`: shared database.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub isolation_mode: String,
    /// Datastores by module.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub databases: BTreeMap<String, ModuleDatabases>,
    /// Legacy: one RabbitMQ virtual host per tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messaging: Option<serde_json::Value>,
    /// RabbitMQ by module, flat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rabbitmq: Option<serde_json::Value>,
    /// Kafka by module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<serde_json::Value>,
    /// Pool settings that hold where a module has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_settings: Option<ConnectionSettings>,
    /// When the association was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub updated_at: Option<Timestamp>,
}

impl std::fmt::Debug for TenantConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantConfig")
            .field("id", &self.id)
            .field("service", &self.service)
            .field("isolation_mode", &self.isolation_mode)
            .field("modules", &self.databases.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Datastores of one module.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModuleDatabases {
    /// Primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgresql: Option<PostgresConfig>,
    /// Read replica; products open a second pool to the primary when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgresql_replica: Option<PostgresConfig>,
    /// MongoDB, passed through untouched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mongodb: Option<serde_json::Value>,
    /// Pool settings of the module; win over the top level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_settings: Option<ConnectionSettings>,
}

/// Connection of a product to PostgreSQL as a tenant.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PostgresConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Login role.
    pub username: String,
    /// Password in clear.
    pub password: String,
    /// Schema, in schema mode: `^[a-zA-Z_][a-zA-Z0-9_]*$`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// `disable` (the products' default), `require`, `verify-ca`, `verify-full`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sslmode: String,
    /// File path inside the product's pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sslrootcert: String,
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("username", &self.username)
            .field("password", &crate::secret::REDACTED)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Pool settings; zero means the product's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionSettings {
    /// Open connections per pool; products cap it at 200.
    pub max_open_conns: u32,
    /// Idle connections per pool; products cap it at 50.
    pub max_idle_conns: u32,
    /// PostgreSQL duration such as `30s`. Products do not enforce it; the role does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub statement_timeout: String,
}

/// A row of `GET /v1/tenants/active?service=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActiveTenant {
    /// Canonical tenant id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Always `active`.
    pub status: String,
}

/// Answer of `GET /v1/tenants/{tenantId}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantView {
    /// Canonical tenant id.
    pub id: TenantId,
    /// Human handle.
    pub tenant_slug: Slug,
    /// Display name.
    pub name: String,
    /// `active` or `suspended`.
    pub status: String,
    /// Environment.
    pub environment: String,
    /// Free text pairs; products fail on anything but strings.
    pub metadata: BTreeMap<String, String>,
}

/// Body of `POST /v1/tenants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateTenant {
    /// Display name, 1 to 256 characters.
    pub name: String,
    /// Human handle; derived from the name when absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub slug: String,
    /// Environment, such as `production`.
    pub environment: String,
    /// `shared`, `dedicated`, `database`, `isolated` or `schema`.
    pub isolation: String,
    /// Free text pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Who owns the tenant.
    pub owner: Owner,
}

/// Owner of a tenant.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// E-mail address.
    pub email: String,
    /// bcrypt hash, never clear text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub password_hash: String,
    /// Whether the address was verified.
    #[serde(default)]
    pub email_verified: bool,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner")
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

/// Answer of `POST /v1/tenants`: 201 when made, 200 when it was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantCreated {
    /// Canonical tenant id.
    pub id: TenantId,
    /// Human handle.
    pub slug: Slug,
    /// `active`.
    pub status: String,
}

/// Body of `POST /v1/tenants/{id}/associations/{service}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AssociateService {
    /// `dedicated`, `isolated`, `database` or `schema`.
    pub isolation_mode: String,
    /// Zero means the product's default.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_open_conns: u32,
    /// Zero means the product's default.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_idle_conns: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde wants"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Answer of `POST /v1/tenants/{id}/associations/{service}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssociationCreated {
    /// Service name.
    pub service_name: ServiceName,
    /// `active`, or `provisioning` while the databases are being made.
    pub status: String,
}

/// Body of every error answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// Stable code, `noun.reason`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// One sentence for a person.
    #[serde(default)]
    pub error: String,
    /// `suspended` or `purged`, on 403 of the connections endpoint: products close their pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// How a tenant's data is kept apart from the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IsolationMode {
    /// One database per module (the contract also says `isolated`).
    Database,
    /// One schema per tenant and module in a shared database.
    Schema,
}

impl IsolationMode {
    /// Understands every word that the contract uses for an isolation mode.
    ///
    /// `shared` is what the create call of the official client sends for a tenant; which stores
    /// it means is said per association, so it stands for the default, `database`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "database" | "isolated" | "dedicated" | "shared" => Some(Self::Database),
            "schema" => Some(Self::Schema),
            _ => None,
        }
    }

    /// Returns the word of the connections answer: `isolated` or `schema`.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Database => "isolated",
            Self::Schema => "schema",
        }
    }

    /// Returns the operator's word: `database` or `schema`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Schema => "schema",
        }
    }
}
