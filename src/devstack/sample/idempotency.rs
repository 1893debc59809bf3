//! Creations that are done once, however often they are asked for: kept with the tenant's data, so
//! that a key of one tenant means nothing to another.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::store::{self, Entity, Of, failed};
use super::{IDEMPOTENCY, REPLAYED};
use crate::middleware::{Refusal, TenantSession};
use crate::secret::sha256_hex;

/// Longest key.
const KEY: usize = 255;

/// Makes an entity, or answers as the first time.
pub(super) async fn create(
    mut session: TenantSession,
    headers: &HeaderMap,
    of: &Of,
    name: &str,
) -> Result<Response, Refusal> {
    let key = key(headers)?;
    let transaction = session
        .transaction()
        .await
        .map_err(|error| failed(&error))?;
    let place = match of {
        Of::Organizations => "organizations".to_owned(),
        Of::Ledgers(organization) => format!("organizations/{organization}/ledgers"),
    };
    let digest = sha256_hex(name.as_bytes());
    if let Some(key) = key {
        // Whoever comes second waits here until the first is done.
        let sql = "INSERT INTO sample_idempotency (place, key, digest) VALUES ($1, $2, $3)
                   ON CONFLICT DO NOTHING";
        let new = transaction
            .execute(sql, &[&place, &key, &digest])
            .await
            .map_err(|error| failed(&error))?;
        if new == 0 {
            let sql = "SELECT digest, body FROM sample_idempotency WHERE place = $1 AND key = $2";
            let row = transaction
                .query_one(sql, &[&place, &key])
                .await
                .map_err(|error| failed(&error))?;
            return replay(row.get(0), row.get(1), &digest);
        }
    }
    let entity = store::create(&transaction, of, name).await?;
    if let Some(key) = key {
        let body = body_of(&entity);
        let sql = "UPDATE sample_idempotency SET body = $3 WHERE place = $1 AND key = $2";
        transaction
            .execute(sql, &[&place, &key, &body])
            .await
            .map_err(|error| failed(&error))?;
    }
    transaction.commit().await.map_err(|error| failed(&error))?;
    Ok(answer(&body_of(&entity), false))
}

fn body_of(entity: &Entity) -> String {
    serde_json::to_string(entity).unwrap_or_default()
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY) else {
        return Ok(None);
    };
    let key = value.to_str().ok().filter(|key| key.len() <= KEY);
    key.map(|key| Some(key).filter(|key| !key.is_empty()))
        .ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "0047",
                "Bad Request",
                "The idempotency key is not text of at most 255 characters.",
            )
        })
}

fn replay(digest: &str, body: Option<&str>, asked: &str) -> Result<Response, Refusal> {
    match body {
        Some(body) if digest == asked => Ok(answer(body, true)),
        _ => Err(Refusal::new(
            StatusCode::CONFLICT,
            "0084",
            "Duplicate Idempotency Key",
            "The idempotency key was used for another request. Please use another key.",
        )),
    }
}

fn answer(body: &str, replayed: bool) -> Response {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let value = HeaderValue::from_static(if replayed { "true" } else { "false" });
    response.headers_mut().insert(REPLAYED, value);
    response
}
