//! The routes.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::idempotency;
use super::store::{self, Entity, Of};
use crate::middleware::{Refusal, Tenant};

/// A page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    items: Vec<Entity>,
    limit: i64,
    /// Where the next page begins; absent on the last.
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// What a list is asked for. What is not known here is ignored, as by the products.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    limit: Option<String>,
    cursor: Option<String>,
    name: Option<String>,
}

fn bad(code: &'static str, message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, "Bad Request", message)
}

/// The ids that there are; everything else is refused before the database is asked.
fn id(text: &str) -> Result<String, Refusal> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    id.map(|id| id.to_string())
        .ok_or_else(|| bad("0065", "An id of the path is not a UUID."))
}

fn name(body: &[u8], field: &str) -> Result<String, Refusal> {
    let body: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| bad("0094", "The body is not JSON."))?;
    let name = body[field].as_str().map(str::trim).unwrap_or_default();
    if !(1..=256).contains(&name.chars().count()) || name.contains('\0') {
        let message = format!("`{field}` must be text of 1 to 256 characters.");
        return Err(bad("0047", &message));
    }
    Ok(name.to_owned())
}

async fn list(tenant: Tenant, of: &Of, wanted: Wanted) -> Result<Json<Page>, Refusal> {
    let limit = match wanted.limit {
        None => 10,
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| bad("0080", "`limit` must be a number from 1 to 100."))?,
    };
    let cursor = match wanted.cursor {
        None => None,
        Some(text) => Some(id(&text).map_err(|_| bad("0081", "`cursor` is none of ours."))?),
    };
    let name = wanted.name.filter(|name| !name.contains('\0'));
    let session = store::session(&tenant).await?;
    let found = store::list(&session, of, limit, cursor.as_deref(), name.as_deref());
    let (items, next_cursor) = found.await?;
    Ok(Json(Page {
        items,
        limit,
        next_cursor,
    }))
}

pub(super) async fn list_organizations(
    tenant: Tenant,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, Refusal> {
    list(tenant, &Of::Organizations, wanted).await
}

pub(super) async fn list_ledgers(
    tenant: Tenant,
    Path(organization): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, Refusal> {
    list(tenant, &Of::Ledgers(id(&organization)?), wanted).await
}

pub(super) async fn create_organization(
    tenant: Tenant,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let name = name(&body, "legalName")?;
    let session = store::session(&tenant).await?;
    idempotency::create(session, &headers, &Of::Organizations, &name).await
}

pub(super) async fn create_ledger(
    tenant: Tenant,
    Path(organization): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let (of, name) = (Of::Ledgers(id(&organization)?), name(&body, "name")?);
    let session = store::session(&tenant).await?;
    idempotency::create(session, &headers, &of, &name).await
}

pub(super) async fn get_organization(
    tenant: Tenant,
    Path(organization): Path<String>,
) -> Result<Json<Entity>, Refusal> {
    let organization = id(&organization)?;
    let session = store::session(&tenant).await?;
    let found = store::get(&session, &Of::Organizations, &organization).await;
    found.map(Json)
}

pub(super) async fn get_ledger(
    tenant: Tenant,
    Path((organization, ledger)): Path<(String, String)>,
) -> Result<Json<Entity>, Refusal> {
    let (of, ledger) = (Of::Ledgers(id(&organization)?), id(&ledger)?);
    let session = store::session(&tenant).await?;
    store::get(&session, &of, &ledger).await.map(Json)
}

pub(super) async fn delete_organization(
    tenant: Tenant,
    Path(organization): Path<String>,
) -> Result<StatusCode, Refusal> {
    let organization = id(&organization)?;
    let session = store::session(&tenant).await?;
    store::delete(&session, &Of::Organizations, &organization).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delete_ledger(
    tenant: Tenant,
    Path((organization, ledger)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let (of, ledger) = (Of::Ledgers(id(&organization)?), id(&ledger)?);
    let session = store::session(&tenant).await?;
    store::delete(&session, &of, &ledger).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn nothing_here() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "0007",
        "Entity Not Found",
        "There is nothing at this path.",
    )
}
