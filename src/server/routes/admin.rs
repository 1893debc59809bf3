//! Our extensions on tenants, services and databases.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::extract::{Asked, Order, Segments, tenant};
use super::{Shared, json, reply, stream};
use crate::contract::permission::Permission;
use crate::server::auth::Caller;
use crate::server::error::ApiError;
use crate::server::service::{RawAdd, RawChange, RawCreate, RawTenantQuery, RawUpdate, to_body};

/// `GET /v1/admin/info`.
pub(super) async fn info(State(app): State<Shared>) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, to_body(&app.info)?))
}

/// `GET /v1/admin/services`: the catalogue, by service name.
pub(super) async fn services(State(app): State<Shared>) -> Result<Response, ApiError> {
    let services: BTreeMap<_, _> = app.tenancy.catalogue.iter().collect();
    Ok(json(StatusCode::OK, to_body(&services)?))
}

/// `GET /v1/admin/tenants`.
pub(super) async fn list(
    State(app): State<Shared>,
    Asked(query): Asked<RawTenantQuery>,
) -> Result<Response, ApiError> {
    Ok(json(
        StatusCode::OK,
        to_body(&app.tenancy.list(query).await?)?,
    ))
}

/// `POST /v1/admin/tenants`.
pub(super) async fn create(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    order: Order<RawCreate>,
) -> Result<Response, ApiError> {
    if order.body.forces() {
        app.require(&caller, Permission::BreakGlass, "`force`")
            .await?;
    }
    let answer = app.tenancy.admin_create(order.body, order.intent);
    answer.await.map(reply)
}

/// `GET /v1/admin/tenants/{tenant}`.
pub(super) async fn show(
    State(app): State<Shared>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    let record = app.tenancy.record(&tenant(&name)?).await?;
    Ok(json(StatusCode::OK, to_body(&record)?))
}

/// `PATCH /v1/admin/tenants/{tenant}`.
pub(super) async fn update(
    State(app): State<Shared>,
    Segments(name): Segments<String>,
    order: Order<RawUpdate>,
) -> Result<Response, ApiError> {
    let tenant = tenant(&name)?;
    let answer = app.tenancy.update(&tenant, order.body, order.intent);
    answer.await.map(reply)
}

/// `POST /v1/admin/tenants/{tenant}/{action}`.
pub(super) async fn change(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments((name, action)): Segments<(String, String)>,
    order: Order<RawChange>,
) -> Result<Response, ApiError> {
    if order.body.drops_data() {
        app.require(&caller, Permission::BreakGlass, "`dropData`")
            .await?;
    }
    let tenant = tenant(&name)?;
    let (tenancy, body, intent) = (&app.tenancy, order.body, order.intent);
    let answer = match action.as_str() {
        "suspend" => tenancy.suspend(&tenant, body, intent).await,
        "reactivate" => tenancy.reactivate(&tenant, body, intent).await,
        "rotate" => tenancy.rotate(&tenant, body, intent).await,
        "purge" => tenancy.purge(&tenant, body, intent).await,
        "provision" => tenancy.provision_again(&tenant, body, intent).await,
        "invalidate" => tenancy.invalidate(&tenant, body, intent).await,
        _ => Err(no_action()),
    };
    answer.map(reply)
}

/// `POST /v1/admin/tenants/{tenant}/verify`.
pub(super) async fn verify(
    State(app): State<Shared>,
    Segments(name): Segments<String>,
    order: Order<RawChange>,
) -> Result<Response, ApiError> {
    let verification = app.tenancy.verify(&tenant(&name)?, order.body).await?;
    Ok(json(StatusCode::OK, to_body(&verification)?))
}

/// `POST /v1/admin/tenants/{tenant}/services/{service}`.
pub(super) async fn add_service(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments((name, service)): Segments<(String, String)>,
    order: Order<RawAdd>,
) -> Result<Response, ApiError> {
    if order.body.forces() {
        app.require(&caller, Permission::BreakGlass, "`force`")
            .await?;
    }
    let tenant = tenant(&name)?;
    let answer = app
        .tenancy
        .add_service(&tenant, &service, order.body, order.intent);
    answer.await.map(reply)
}

/// `POST …/services/{service}/{action}`.
pub(super) async fn change_service(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segments((name, service, action)): Segments<(String, String, String)>,
    order: Order<RawChange>,
) -> Result<Response, ApiError> {
    if order.body.drops_data() {
        app.require(&caller, Permission::BreakGlass, "`dropData`")
            .await?;
    }
    let tenant = tenant(&name)?;
    let (tenancy, body, intent) = (&app.tenancy, order.body, order.intent);
    let answer = match action.as_str() {
        "suspend" => {
            tenancy
                .switch_service(&tenant, &service, true, body, intent)
                .await
        }
        "reactivate" => {
            tenancy
                .switch_service(&tenant, &service, false, body, intent)
                .await
        }
        "remove" => tenancy.remove(&tenant, &service, body, intent).await,
        _ => Err(no_action()),
    };
    answer.map(reply)
}

fn no_action() -> ApiError {
    ApiError::not_found("route.not_found", "there is no such action")
}

/// Parameters of `GET /v1/admin/databases`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DatabaseQuery {
    tenant: Option<String>,
    service: Option<String>,
}

/// `GET /v1/admin/databases`.
pub(super) async fn databases(
    State(app): State<Shared>,
    Asked(query): Asked<DatabaseQuery>,
) -> Result<Response, ApiError> {
    let (tenant, service) = app
        .tenancy
        .database_filter(query.tenant.as_deref(), query.service.as_deref())
        .await?;
    stream::databases(app, tenant, service).await
}
