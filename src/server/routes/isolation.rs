//! Our extension on the check of isolation that the server runs by itself.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::extract::Order;
use super::{Shared, json};
use crate::contract::isolation::IsolationRequest;
use crate::server::error::ApiError;
use crate::server::service::to_body;

/// `GET /v1/admin/isolation`.
pub(super) async fn status(State(app): State<Shared>) -> Result<Response, ApiError> {
    let status = app.tenancy.isolation_status().await?;
    Ok(json(StatusCode::OK, to_body(&status)?))
}

/// `GET /v1/admin/isolation/report`.
pub(super) async fn report(State(app): State<Shared>) -> Result<Response, ApiError> {
    let answer = app.tenancy.isolation_report().await?;
    Ok(json(StatusCode::OK, to_body(&answer)?))
}

/// `POST /v1/admin/isolation/check`.
pub(super) async fn check(
    State(app): State<Shared>,
    order: Order<IsolationRequest>,
) -> Result<Response, ApiError> {
    let trail = order.intent.trail.as_ref();
    let status = app.tenancy.ask_isolation(trail).await?;
    Ok(json(StatusCode::ACCEPTED, to_body(&status)?))
}
