//! Our extensions on the audit log.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::extract::Asked;
use super::{Shared, json};
use crate::server::error::ApiError;
use crate::server::service::{RawAuditPart, RawAuditQuery, to_body};

/// `GET /v1/admin/audit`.
pub(super) async fn list(
    State(app): State<Shared>,
    Asked(query): Asked<RawAuditQuery>,
) -> Result<Response, ApiError> {
    let page = app.tenancy.audit(query).await?;
    Ok(json(StatusCode::OK, to_body(&page)?))
}

/// `GET /v1/admin/audit/head`.
pub(super) async fn head(State(app): State<Shared>) -> Result<Response, ApiError> {
    let head = app.tenancy.audit_head().await?;
    Ok(json(StatusCode::OK, to_body(&head)?))
}

/// `GET /v1/admin/audit/verify`.
pub(super) async fn verify(
    State(app): State<Shared>,
    Asked(part): Asked<RawAuditPart>,
) -> Result<Response, ApiError> {
    let outcome = app.tenancy.audit_verify(part).await?;
    Ok(json(StatusCode::OK, to_body(&outcome)?))
}
