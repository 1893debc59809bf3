//! Our extensions on operations.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::watch;

use super::extract::{Asked, Segments};
use super::{Shared, json};
use crate::contract::admin::OperationRecord;
use crate::server::error::ApiError;
use crate::server::service::{RawOperationQuery, to_body};

/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// `GET /v1/admin/operations`.
pub(super) async fn list(
    State(app): State<Shared>,
    Asked(query): Asked<RawOperationQuery>,
) -> Result<Response, ApiError> {
    Ok(json(
        StatusCode::OK,
        to_body(&app.tenancy.operations(query).await?)?,
    ))
}

/// `GET /v1/admin/operations/{id}`.
pub(super) async fn show(
    State(app): State<Shared>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    Ok(json(
        StatusCode::OK,
        to_body(&app.tenancy.operation(&id).await?)?,
    ))
}

/// Someone who watches an operation.
struct Watcher {
    app: Shared,
    id: String,
    changes: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    ready: VecDeque<Bytes>,
    last: Option<OperationRecord>,
}

/// `GET /v1/admin/operations/{id}/progress`: one record per line at once and at every change, a
/// blank line as a sign of life, and the end after the final state (or when the server stops).
pub(super) async fn progress(
    State(app): State<Shared>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    // Watch first and read afterwards, so that no change falls between the two.
    let changes = app.tenancy.progress.watch(&id);
    let record = app.tenancy.operation(&id).await?;
    let mut watcher = Watcher {
        closing: app.closing.clone(),
        app,
        id,
        changes,
        ready: VecDeque::new(),
        last: None,
    };
    watcher.take(record);
    let lines = stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.next().await?;
        Some((Ok::<_, Infallible>(line), watcher))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

impl Watcher {
    /// Makes a line of a record that is news.
    fn take(&mut self, record: OperationRecord) {
        if self.last.as_ref() == Some(&record) {
            return;
        }
        if let Ok(mut line) = serde_json::to_vec(&record) {
            line.push(b'\n');
            self.ready.push_back(line.into());
        }
        self.last = Some(record);
    }

    /// Returns the next line; nothing after the final state.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.last.as_ref().is_some_and(|last| last.state.is_final()) {
                return None;
            }
            tokio::select! {
                _ = self.closing.wait_for(|closing| *closing) => return None,
                changed = self.changes.changed() => changed.ok()?,
                () = tokio::time::sleep(HEARTBEAT) => {
                    self.ready.push_back(Bytes::from_static(b"\n"));
                }
            }
            // Read after a sign of life too: the registry may have answered again since.
            if let Ok(record) = self.app.tenancy.operation(&self.id).await {
                self.take(record);
            }
        }
    }
}
