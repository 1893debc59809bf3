//! Multi-tenancy of a service as a tower layer: what the products do in Go.
//!
//! A request's token says which tenant it is for ([`Trust`]); the resolver of
//! [`client`](crate::client) says how that tenant connects, from memory, from a shared Redis or
//! from the Tenant Manager; pools of that tenant alone lead there; the handler finds the
//! [`Tenant`] among the request's extensions, or as an argument. What is refused is answered with
//! the products' statuses and codes ([`Refusal`]). [`listen`] reacts to lifecycle events.
//!
//! Fails closed: without a token that counts, a Tenant Manager's word and a database that says
//! that it is the right one, nothing is served.
//!
//! ```no_run
//! use axum::Router;
//! use axum::routing::get;
//! use lerianctl::middleware::{Refusal, Tenancy, Tenant, TenantLayer};
//!
//! async fn count(tenant: Tenant) -> Result<String, Refusal> {
//!     let session = tenant.session().await?;
//!     let row = session.query_one("SELECT count(*) FROM ledger", &[]).await;
//!     Ok(row.map_err(|_| Refusal::database())?.get::<_, i64>(0).to_string())
//! }
//!
//! fn router(tenancy: Tenancy) -> Router {
//!     Router::new().route("/count", get(count)).layer(TenantLayer::new(tenancy))
//! }
//! ```

mod layer;
mod lifecycle;
mod pools;
mod refusal;
mod tenancy;
mod trust;

pub use layer::{TenantLayer, TenantService};
pub use lifecycle::{Listener, Listening, listen};
pub use pools::{PoolCounts, PoolSettings, SessionError};
pub use refusal::{ErrorEnvelope, Refusal};
pub use tenancy::{Tenancy, TenancySettings, Tenant, TenantSession};
pub use trust::{KeySet, NotIdentified, Trust};
