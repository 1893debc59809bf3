//! Wire types, ids and names of the Tenant Manager contract: serde only, no I/O and no clock.

pub mod admin;
pub mod audit;
pub mod catalogue;
pub mod event;
pub mod ids;
pub mod isolation;
pub mod keys;
pub mod openapi;
pub mod permission;
pub mod rekey;
pub mod wire;

pub use ids::{Environment, IdError, ServiceName, Slug, TenantId};
