//! Names of databases, schemas and roles: at most 63 bytes, lower-case, unique by tenant.

use serde::{Deserialize, Serialize};

use crate::contract::wire::IsolationMode;
use crate::contract::{ServiceName, Slug, TenantId};

/// Names of everything that one module of one tenant owns on a cluster.
///
/// Made once, kept in the registry, never derived again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Database: the tenant's own, or the shared one in schema mode.
    pub database: String,
    /// Schema, in schema mode; matches `^[a-z_][a-z0-9_]*$`.
    pub schema: Option<String>,
    /// Role that owns the tenant's objects; cannot log in.
    pub owner: String,
    /// The two login roles that alternate.
    pub logins: [String; 2],
}

impl Names {
    /// Makes the names for one module of a tenant; pure, the same for the same input.
    pub fn make(
        _tenant: &TenantId,
        _slug: &Slug,
        _service: &ServiceName,
        _module: &str,
        _mode: IsolationMode,
    ) -> Self {
        unimplemented!()
    }
}
