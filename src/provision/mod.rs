//! Provisioning: plan (pure), apply (I/O), naming, rotation, proof.

pub mod apply;
pub mod limits;
pub mod mark;
pub mod naming;
pub mod plan;
pub mod prove;
pub mod sql;
mod statements;

pub use apply::{ProvisionError, Provisioner};
pub use naming::Names;
pub use plan::{DatabaseSpec, Slot, Step};

use crate::link::postgres::PostgresEndpoint;

/// A PostgreSQL server that tenants are placed on.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Name in the registry and in plans, for example `main`.
    pub name: String,
    /// How the provisioner reaches it: a role that may create roles and databases.
    pub admin: PostgresEndpoint,
    /// Host that products connect to.
    pub public_host: String,
    /// Port that products connect to.
    pub public_port: u16,
    /// `sslmode` that products are told; empty leaves it out.
    pub public_sslmode: String,
}
