//! Alive, ready, figures, and the key set of development servers. Open without a key.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Shared;
use crate::contract::openapi;
use crate::server::error::ApiError;

/// How long an answer about readiness is good, so that probes cannot wear anything out.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The last answer about readiness.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, bool, Value)>>);

/// `GET /healthz`.
pub(super) async fn alive() -> Response {
    super::json(StatusCode::OK, r#"{"status":"ok"}"#)
}

/// `GET /readyz`: 200 when the registry can be written, what an earlier process left behind was
/// taken up, and every cluster answers; 503 otherwise, with what is amiss.
pub(super) async fn ready(State(app): State<Shared>) -> Response {
    if *app.closing.borrow() {
        let body = json!({ "status": "stopping", "checks": {} });
        return super::json(StatusCode::SERVICE_UNAVAILABLE, body.to_string());
    }
    // Held while checking, so that probes that come together share one check.
    let mut last = app.readiness.0.lock().await;
    let fresh = last
        .as_ref()
        .filter(|(at, ready, _)| *ready && at.elapsed() < GOOD_FOR);
    let (ready, body) = if let Some((_, ready, body)) = fresh {
        (*ready, body.clone())
    } else {
        let (ready, body) = check(&app).await;
        *last = Some((Instant::now(), ready, body.clone()));
        (ready, body)
    };
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    super::json(status, body.to_string())
}

/// Returns whether `/readyz` would answer 200.
pub(crate) async fn is_ready(app: &Shared) -> bool {
    check(app).await.0
}

async fn check(app: &Shared) -> (bool, Value) {
    let (registry, clusters) = tokio::join!(
        app.tenancy.registry.writable(),
        app.tenancy.provisioner.ready()
    );
    let recovered = app.recovered.load(Ordering::Relaxed);
    let ready = registry.is_ok() && recovered && clusters;
    let check = |good: bool, amiss: String| {
        if good {
            json!({ "status": "up" })
        } else {
            json!({ "status": "down", "reason": amiss })
        }
    };
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "checks": {
            "registry": check(
                registry.is_ok(),
                registry.err().map(|error| error.to_string()).unwrap_or_default(),
            ),
            "recovery": check(
                recovered,
                "operations of an earlier run are being taken up".into(),
            ),
            "clusters": check(
                clusters,
                "at least one PostgreSQL cluster does not answer".into(),
            ),
        },
    });
    (ready, body)
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Shared>) -> Response {
    let text = app.tenancy.metrics.render(&app.tenancy).await;
    let mut response = text.into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

/// `GET /openapi.json` and `GET /v1/admin/openapi.json`.
pub(super) async fn openapi() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
    super::json(StatusCode::OK, DOCUMENT.as_str())
}

/// `GET /.well-known/jwks.json`.
pub(super) async fn jwks(State(app): State<Shared>) -> Result<Response, ApiError> {
    let keys = app.jwks.clone().ok_or_else(|| {
        ApiError::not_found(
            "route.development",
            "only development servers sign tokens and show their keys",
        )
    })?;
    Ok(super::json(StatusCode::OK, keys))
}
