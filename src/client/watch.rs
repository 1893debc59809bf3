//! Following an operation to its end.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use tokio::time::Instant;

use super::TenantManager;
use super::answer::class;
use super::call::{Call, Surface};
use super::error::{ClientError, ErrorKind};
use crate::contract::admin::OperationRecord;

/// Longest silence of a progress stream: three heartbeats.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest wait between two looks.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Why a stream ended before the operation did.
enum Ended {
    /// The connection or the server went away: connect again.
    Lost(ClientError),
    /// There is no stream here: ask from time to time.
    NoStream(ClientError),
    /// It will not get better.
    Failed(ClientError),
}

impl TenantManager {
    /// Follows an operation and returns it in its final state.
    ///
    /// `on_change` sees every state that is new. A lost stream is opened again, and where there is
    /// none the operation is asked for from time to time; after [`super::RetryPolicy::patience`]
    /// without a sign of the server this gives up, and the operation goes on.
    pub async fn watch(
        &self,
        id: &str,
        mut on_change: impl FnMut(&OperationRecord),
    ) -> Result<OperationRecord, ClientError> {
        let retry = self.inner.settings.retry;
        let mut last: Option<OperationRecord> = None;
        let mut streaming = true;
        let mut wait = retry.first_wait;
        let mut alive = Instant::now();
        loop {
            let before = alive;
            let mut seen = |record: OperationRecord| {
                alive = Instant::now();
                if last.as_ref() != Some(&record) {
                    on_change(&record);
                    last = Some(record);
                }
            };
            let ended = if streaming {
                self.follow(id, &mut seen).await
            } else {
                self.operation(id).await.map(&mut seen).map_err(sorted)
            };
            if let Some(done) = last.take_if(|record| record.state.is_final()) {
                return Ok(done);
            }
            let error = match ended {
                Ok(()) => None,
                Err(Ended::Lost(error)) => Some(error),
                Err(Ended::NoStream(_)) if streaming => {
                    streaming = false;
                    continue;
                }
                Err(Ended::NoStream(error) | Ended::Failed(error)) => return Err(error),
            };
            if alive != before {
                wait = retry.first_wait;
            } else if alive.elapsed() > retry.patience {
                return Err(error.unwrap_or_else(|| {
                    let line = format!("GET /v1/admin/operations/{id}/progress");
                    ClientError::new(ErrorKind::Unavailable, &line, "ends again and again")
                }));
            }
            self.pause(wait, id).await?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Reads a progress stream to its end.
    async fn follow(&self, id: &str, seen: &mut impl FnMut(OperationRecord)) -> Result<(), Ended> {
        let call = Call::get(
            Surface::Extension,
            &["v1", "admin", "operations", id, "progress"],
        )
        .map_err(Ended::Failed)?;
        let mut response = self.inner.stream(&call).await.map_err(sorted)?;
        let line = call.line();
        let content_type = response.headers().get(CONTENT_TYPE);
        if content_type.is_none_or(|it| !it.as_bytes().starts_with(b"application/x-ndjson")) {
            let reason = "answered with something that is not a stream of operations";
            let error = ClientError::new(ErrorKind::Protocol, &line, reason);
            return Err(Ended::NoStream(error));
        }
        let protocol =
            |reason: String| Ended::Failed(ClientError::new(ErrorKind::Protocol, &line, reason));
        let mut pending = Vec::new();
        loop {
            let chunk = self.chunk(&mut response, &line).await?;
            let Some(chunk) = chunk else {
                return Ok(());
            };
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = pending.drain(..=end).collect();
                if text.trim_ascii().is_empty() {
                    continue;
                }
                let record = serde_json::from_slice(&text).map_err(|error| {
                    protocol(format!(
                        "sent a line that is not an operation: {}",
                        class(&error)
                    ))
                })?;
                seen(record);
            }
            if pending.len() > self.inner.settings.max_body {
                return Err(protocol("sent a line without an end".to_owned()));
            }
        }
    }

    /// Waits for the next part of a stream.
    async fn chunk(
        &self,
        response: &mut Response,
        line: &str,
    ) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>>, Ended> {
        let silent = Instant::now() + SILENCE;
        let deadline = self.inner.deadline;
        let until = deadline.map_or(silent, |deadline| deadline.min(silent));
        match tokio::time::timeout_at(until, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(_)) => Err(Ended::Lost(ClientError::new(
                ErrorKind::Unavailable,
                line,
                "lost its stream",
            ))),
            Err(_) if deadline == Some(until) => Err(Ended::Failed(self.too_late(line))),
            Err(_) => Err(Ended::Lost(ClientError::new(
                ErrorKind::Unavailable,
                line,
                format!("was silent for {} s", SILENCE.as_secs()),
            ))),
        }
    }

    async fn pause(&self, wait: Duration, id: &str) -> Result<(), ClientError> {
        let until = Instant::now() + wait;
        match self.inner.deadline {
            Some(deadline) if deadline <= until => {
                tokio::time::sleep_until(deadline).await;
                Err(self.too_late(&format!("GET /v1/admin/operations/{id}")))
            }
            _ => {
                tokio::time::sleep_until(until).await;
                Ok(())
            }
        }
    }

    fn too_late(&self, line: &str) -> ClientError {
        ClientError::new(
            ErrorKind::Deadline,
            line,
            format!(
                "was given up at the deadline; the operation goes on at {}",
                self.inner.settings.base
            ),
        )
    }
}

fn sorted(error: ClientError) -> Ended {
    match error.kind {
        ErrorKind::Unavailable | ErrorKind::BreakerOpen { .. } => Ended::Lost(error),
        ErrorKind::Unsupported => Ended::NoStream(error),
        _ => Ended::Failed(error),
    }
}
