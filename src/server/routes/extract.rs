//! Reading requests. Whatever is wrong with one is answered with our own error body.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::Shared;
use crate::contract::ids::TenantRef;
use crate::secret::sha256_hex;
use crate::server::audit::Trail;
use crate::server::error::ApiError;
use crate::server::limits::Limits;
use crate::server::service::{Intent, not_a_tenant};

/// Longest idempotency key.
const LONGEST_KEY: usize = 255;

/// Segments of the path.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, app)
            .await
            .map(|Path(segments)| Self(segments))
            .map_err(|_| {
                ApiError::not_found("route.not_found", "a segment of the path cannot be read")
            })
    }
}

/// Parameters of the query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, app)
            .await
            .map(|Query(asked)| Self(asked))
            .map_err(|rejection| ApiError::malformed(shown(&rejection.body_text())))
    }
}

/// A change that is asked for: its body, and what the headers say about it.
pub(super) struct Order<T> {
    pub(super) body: T,
    pub(super) intent: Intent,
}

impl<T: DeserializeOwned + Default> FromRequest<Shared> for Order<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read(&app.limits, &parts.headers, body).await?;
        let intent = Intent {
            repeat: repeat(&parts, &bytes)?,
            trail: parts.extensions.get::<Trail>().cloned(),
            ..Intent::default()
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self {
                body: T::default(),
                intent,
            });
        }
        let body = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::malformed(format!(
                "the body is not what is expected here: {}",
                shown(&error.to_string())
            ))
        })?;
        Ok(Self { body, intent })
    }
}

async fn read(limits: &Limits, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let largest = limits.body_bytes;
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too_large",
            format!("the body is larger than {largest} bytes"),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > largest) {
        return Err(too_large());
    }
    // One byte more than allowed tells a body that is too large from one that broke off.
    let reading = to_bytes(body, largest.saturating_add(1));
    let Ok(bytes) = tokio::time::timeout(limits.body_time, reading).await else {
        return Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.slow",
            format!("the body did not arrive within {:?}", limits.body_time),
        ));
    };
    let bytes = bytes.map_err(|error| {
        let text = error.to_string();
        if text.contains("length limit") {
            too_large()
        } else {
            ApiError::malformed("the body could not be read to its end")
        }
    })?;
    if bytes.len() > largest {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Returns digests of idempotency key and body, when there is a key.
fn repeat(parts: &Parts, body: &[u8]) -> Result<Option<(String, String)>, ApiError> {
    let Some(key) = parts.headers.get("idempotency-key") else {
        return Ok(None);
    };
    let sane =
        (1..=LONGEST_KEY).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if !sane {
        return Err(ApiError::malformed(format!(
            "`Idempotency-Key` has 1 to {LONGEST_KEY} visible ASCII characters"
        )));
    }
    let mut text = format!("{}\n{}\n", parts.method, parts.uri.path()).into_bytes();
    text.extend_from_slice(key.as_bytes());
    Ok(Some((sha256_hex(&text), sha256_hex(body))))
}

/// Returns text that may hold what the caller sent, made safe to show.
fn shown(text: &str) -> String {
    text.chars()
        .take(300)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Understands a tenant in a path.
pub(super) fn tenant(text: &str) -> Result<TenantRef, ApiError> {
    text.parse().map_err(|_| not_a_tenant(text))
}

/// Understands a tenant id in a path of the contract, which knows no slugs. What cannot be an
/// id is unknown, not wrong: products pass on whatever a token said.
pub(super) fn tenant_id(text: &str) -> Result<TenantRef, ApiError> {
    crate::contract::TenantId::canonical(text)
        .map(TenantRef::Id)
        .ok_or_else(|| not_a_tenant(text))
}
