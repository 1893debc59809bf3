//! Our extensions on API keys.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::extract::{Asked, Order, Segments};
use super::{Shared, json, reply};
use crate::contract::permission::{Permission, Permissions};
use crate::server::auth::Caller;
use crate::server::error::ApiError;
use crate::server::keys::{RawCreateKey, RawKeyQuery, RawRevokeKey, RawRotateKey};
use crate::server::service::to_body;

/// Returns everything that the caller may do, as far as keys can have it.
async fn granted(app: &Shared, caller: &Caller) -> Result<Permissions, ApiError> {
    let mut granted = Vec::new();
    for permission in Permission::ALL {
        if app.permits(caller, permission).await? {
            granted.push(permission);
        }
    }
    Ok(granted.into_iter().collect())
}

/// Writes an answer that holds a secret: nothing on the way may keep it.
fn secret(answer: crate::server::service::Reply) -> Response {
    let mut response = reply(answer);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /v1/admin/keys`.
pub(super) async fn list(
    State(app): State<Shared>,
    Asked(query): Asked<RawKeyQuery>,
) -> Result<Response, ApiError> {
    let page = app.keys.list(&app.tenancy, query).await?;
    Ok(json(StatusCode::OK, to_body(&page)?))
}

/// `GET /v1/admin/keys/{key}`.
pub(super) async fn show(
    State(app): State<Shared>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    let record = app.keys.show(&app.tenancy, &name).await?;
    Ok(json(StatusCode::OK, to_body(&record)?))
}

/// `POST /v1/admin/keys`.
pub(super) async fn create(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    order: Order<RawCreateKey>,
) -> Result<Response, ApiError> {
    let granted = granted(&app, &caller).await?;
    let answer = app
        .keys
        .create(&app.tenancy, order.body, &order.intent, &caller, granted);
    answer.await.map(secret)
}

/// `POST /v1/admin/keys/{key}/rotate`.
pub(super) async fn rotate(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    order: Order<RawRotateKey>,
) -> Result<Response, ApiError> {
    let granted = granted(&app, &caller).await?;
    let (body, intent) = (&order.body, &order.intent);
    let answer = app
        .keys
        .rotate(&app.tenancy, &name, body, intent, &caller, granted);
    answer.await.map(secret)
}

/// `POST /v1/admin/keys/{key}/revoke`.
pub(super) async fn revoke(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    order: Order<RawRevokeKey>,
) -> Result<Response, ApiError> {
    let granted = granted(&app, &caller).await?;
    let trail = order.intent.trail.as_ref();
    let answer = app
        .keys
        .revoke(&app.tenancy, &name, &order.body, &caller, granted, trail);
    Ok(json(StatusCode::OK, to_body(&answer.await?)?))
}
