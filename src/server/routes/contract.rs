//! The contract: endpoints 1 to 7, as Lerian's products call them.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::extract::{Asked, Order, Segments, tenant_id};
use super::{Shared, json, reply, stream};
use crate::server::auth::Caller;
use crate::server::error::ApiError;
use crate::server::service::{RawAssociate, RawContractCreate, to_body};

/// `POST /v1/tenants`.
pub(super) async fn create(
    State(app): State<Shared>,
    order: Order<RawContractCreate>,
) -> Result<Response, ApiError> {
    let answer = app.tenancy.contract_create(order.body, order.intent);
    answer.await.map(reply)
}

/// `GET /v1/tenants/{tenantId}`.
pub(super) async fn view(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let view = app.tenancy.contract_view(&id, &caller).await?;
    Ok(json(StatusCode::OK, to_body(&view)?))
}

/// Parameters of `GET /v1/tenants/active`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ActiveQuery {
    service: String,
}

/// `GET /v1/tenants/active?service=`.
pub(super) async fn active(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<ActiveQuery>,
) -> Result<Response, ApiError> {
    if query.service.is_empty() {
        return Err(ApiError::malformed("service: is required"));
    }
    caller.reads_service(&query.service)?;
    stream::active(app, query.service, caller.environments().to_vec()).await
}

/// `GET …/associations/{service}/connections`.
pub(super) async fn connections(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments((id, service)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let answer = app.tenancy.connections(&caller, &id, &service).await?;
    Ok(json(answer.status, answer.body))
}

/// `GET …/associations/{service}/principals`: the parties whose tokens act for a tenant are the
/// Access Manager's, and an empty list would say that there are none.
///
/// Lerian's client takes 404 for "no such tenant", and every status from 500 on for a failure that
/// opens its breaker for all tenants. This one it passes on as an error, and logs with its body.
pub(super) async fn principals(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments((id, service)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    caller.reads_service(&service)?;
    app.tenancy.contract_view(&id, &caller).await?;
    let mut refusal = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "principals.not_served",
        "this Tenant Manager does not know the parties whose tokens act for a tenant: the Access Manager does",
    )
    .into_response();
    let none = HeaderValue::from_static("");
    refusal.headers_mut().insert(header::ALLOW, none);
    Ok(refusal)
}

/// `POST …/associations/{service}`.
pub(super) async fn associate(
    State(app): State<Shared>,
    Segments((id, service)): Segments<(String, String)>,
    order: Order<RawAssociate>,
) -> Result<Response, ApiError> {
    let tenant = tenant_id(&id)?;
    let answer = app
        .tenancy
        .contract_associate(&tenant, &service, order.body, order.intent);
    answer.await.map(reply)
}

/// Body of the calls that have none; whatever is sent is not looked at.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct NoBody {}

/// `PUT …/associations/{service}/suspend`.
pub(super) async fn suspend(
    State(app): State<Shared>,
    Segments((id, service)): Segments<(String, String)>,
    order: Order<NoBody>,
) -> Result<Response, ApiError> {
    let tenant = tenant_id(&id)?;
    let answer = app
        .tenancy
        .contract_suspend(&tenant, &service, order.intent);
    answer.await.map(reply)
}

/// `PUT /v1/tenants/{tenantId}/reactivate`.
pub(super) async fn reactivate(
    State(app): State<Shared>,
    Segments(id): Segments<String>,
    order: Order<NoBody>,
) -> Result<Response, ApiError> {
    let tenant = tenant_id(&id)?;
    let answer = app.tenancy.contract_reactivate(&tenant, order.intent);
    answer.await.map(reply)
}
