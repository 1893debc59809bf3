//! A small service on the tenant middleware: organizations and their ledgers, each tenant's in its
//! own database or schema.
//!
//! Routes, bodies, errors and the idempotency header are those of Lerian's ledger, as far as they
//! go. What it keeps is in three tables of its own, made with a tenant's first request.

mod idempotency;
mod routes;
mod store;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;

use crate::middleware::{Tenancy, TenantLayer};

/// Longest body.
const BODY: usize = 64 * 1024;

/// Header with the key under which a creation is done once.
pub const IDEMPOTENCY: &str = "x-idempotency";
/// Header that says that an answer is that of an earlier request with the same key.
pub const REPLAYED: &str = "x-idempotency-replayed";

/// Returns the service. `GET /health` is open; everything else needs a tenant's token.
pub fn router(tenancy: Tenancy) -> Router {
    let organizations = Router::new()
        .route(
            "/",
            get(routes::list_organizations).post(routes::create_organization),
        )
        .route(
            "/{organization}",
            get(routes::get_organization).delete(routes::delete_organization),
        )
        .route(
            "/{organization}/ledgers",
            get(routes::list_ledgers).post(routes::create_ledger),
        )
        .route(
            "/{organization}/ledgers/{ledger}",
            get(routes::get_ledger).delete(routes::delete_ledger),
        );
    Router::new()
        .nest("/v1/organizations", organizations)
        .fallback(routes::nothing_here)
        .method_not_allowed_fallback(routes::nothing_here)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(TenantLayer::new(tenancy))
        .route("/health", get(|| async { "healthy" }))
}
