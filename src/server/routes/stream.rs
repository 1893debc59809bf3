//! Long answers, written page by page so that memory stays bounded.

use std::future::Future;
use std::io;
use std::pin::Pin;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde::Serialize;

use super::{Shared, json};
use crate::contract::admin::DatabaseRecord;
use crate::contract::wire::ActiveTenant;
use crate::contract::{Environment, ServiceName, TenantId};
use crate::server::error::ApiError;
use crate::server::registry::RegistryError;

/// Items per page.
const PAGE: u32 = 1000;

/// Longest body that Lerian's own client library reads; see its tenant manager client.
const OFFICIAL_LIMIT: u64 = 10 * 1024 * 1024;

/// The next page after an item.
type Fetch<T> = Box<
    dyn Fn(Option<T>) -> Pin<Box<dyn Future<Output = Result<Vec<T>, RegistryError>> + Send>> + Send,
>;

/// Writes `open`, the items with commas between them, and `close`. The first page is read before
/// the status is chosen; a failure later breaks the answer off, so that it cannot be taken for a
/// complete one.
async fn pages<T: Serialize + Clone + Send + Sync + 'static>(
    app: &Shared,
    open: &'static str,
    close: &'static str,
    fetch: Fetch<T>,
) -> Result<Response, ApiError> {
    let full = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let first = app.tenancy.noted(fetch(None).await)?;
    let mut text = open.as_bytes().to_vec();
    append(&mut text, &first, true)?;
    if first.len() < full {
        text.extend_from_slice(close.as_bytes());
        return Ok(json(StatusCode::OK, text));
    }
    let last = first.last().cloned();
    let begun = stream::once(async move { Ok::<_, io::Error>(Bytes::from(text)) });
    let rest = stream::unfold(last, move |last| {
        let next = last.map(|last| fetch(Some(last)));
        async move {
            let page = match next?.await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "an answer breaks off");
                    return Some((Err(io::Error::other(error.to_string())), None));
                }
            };
            let mut text = Vec::new();
            if let Err(error) = append(&mut text, &page, false) {
                return Some((Err(io::Error::other(error.message)), None));
            }
            let more = page.len() >= full;
            if !more {
                text.extend_from_slice(close.as_bytes());
            }
            let last = page.last().filter(|_| more).cloned();
            Some((Ok(Bytes::from(text)), last))
        }
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(begun, rest));
    Ok(json(StatusCode::OK, body))
}

fn append<T: Serialize>(text: &mut Vec<u8>, items: &[T], mut first: bool) -> Result<(), ApiError> {
    for item in items {
        if !std::mem::take(&mut first) {
            text.push(b',');
        }
        serde_json::to_writer(&mut *text, item).map_err(|error| {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                format!("the answer cannot be written: {error}"),
            )
        })?;
    }
    Ok(())
}

/// `GET /v1/tenants/active`: a bare array, as the contract wants it.
pub(super) async fn active(
    app: Shared,
    service: String,
    environments: Vec<Environment>,
) -> Result<Response, ApiError> {
    let registry = std::sync::Arc::clone(&app.tenancy.registry);
    let (asked, scope) = (service.clone(), environments.clone());
    let fetch: Fetch<ActiveTenant> = Box::new(move |last| {
        let (registry, service) = (registry.clone(), service.clone());
        let environments = environments.clone();
        Box::pin(async move {
            let after = last.map(|last| last.id);
            registry
                .active(&service, &environments, after.as_deref(), PAGE)
                .await
        })
    });
    let first = app.tenancy.noted(fetch(None).await)?;
    let expected = expected_length(&app, &asked, &scope, &first).await?;
    let mut response = pages(&app, "[", "]", fetch).await?;
    if let Some(bytes) = expected
        && bytes > OFFICIAL_LIMIT
    {
        tracing::warn!(
            service = asked,
            bytes,
            limit = OFFICIAL_LIMIT,
            "Lerian's client library refuses an answer of this length: products do not learn of these tenants at their start"
        );
        app.tenancy.metrics.too_long_for_products();
        response.headers_mut().insert(
            header::WARNING,
            HeaderValue::from_static(
                "299 lerianctl \"longer than the 10 MiB that Lerian's client library reads\"",
            ),
        );
    }
    Ok(response)
}

/// Returns about how long the answer will be, when it has more than one page.
async fn expected_length(
    app: &Shared,
    service: &str,
    environments: &[Environment],
    first: &[ActiveTenant],
) -> Result<Option<u64>, ApiError> {
    if first.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
        return Ok(None);
    }
    let mut page = Vec::new();
    append(&mut page, first, true)?;
    let counted = app.tenancy.registry.count_active(service, environments);
    let count = app.tenancy.noted(counted.await)?;
    let page = u64::try_from(page.len()).unwrap_or(u64::MAX);
    Ok(Some(page.saturating_mul(count) / u64::from(PAGE)))
}

/// `GET /v1/admin/databases`.
pub(super) async fn databases(
    app: Shared,
    tenant: Option<TenantId>,
    service: Option<ServiceName>,
) -> Result<Response, ApiError> {
    let tenancy = std::sync::Arc::clone(&app.tenancy);
    let fetch: Fetch<DatabaseRecord> = Box::new(move |last| {
        let (tenancy, tenant, service) = (tenancy.clone(), tenant.clone(), service.clone());
        Box::pin(async move {
            let after = last.map(|last| (last.tenant_id, last.service, last.module));
            let found = tenancy
                .registry
                .databases(tenant.as_ref(), service.as_ref(), after.as_ref(), PAGE)
                .await?;
            Ok(found
                .iter()
                .map(|(database, version)| database.record(*version, &tenancy.clusters))
                .collect())
        })
    });
    pages(&app, "{\"items\":[", "]}", fetch).await
}
