//! Our extensions on the keys that seal what is secret.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::extract::Order;
use super::{Shared, json};
use crate::contract::rekey::RekeyRequest;
use crate::server::error::ApiError;
use crate::server::service::to_body;

/// `GET /v1/admin/rekey`.
pub(super) async fn status(State(app): State<Shared>) -> Result<Response, ApiError> {
    let status = app.tenancy.key_status().await?;
    Ok(json(StatusCode::OK, to_body(&status)?))
}

/// `POST /v1/admin/rekey`.
pub(super) async fn rekey(
    State(app): State<Shared>,
    order: Order<RekeyRequest>,
) -> Result<Response, ApiError> {
    let trail = order.intent.trail.as_ref();
    let rekey = app.tenancy.rekey(&order.body, trail).await?;
    Ok(json(StatusCode::OK, to_body(&rekey)?))
}
