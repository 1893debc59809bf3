//! Sending a call: deadlines, limits, breaker, retries, and what an answer means.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::Retryable;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::ClientSettings;
use super::answer::{Failed, Reply, outcome, refusal, request_id, text};
use super::breaker::Breaker;
use super::call::{Call, Surface};
use super::error::{ClientError, ErrorKind};
use super::http::{Cut, http_client, is_tls, limited, root_cause, too_long};
use super::retry::Budget;
use crate::link::trace::TraceContext;

/// Longest error body that is read.
const ERROR_BODY: usize = 64 * 1024;

/// Longest wait between two looks at what became of a write.
const LOOK_UP_WAIT: Duration = Duration::from_secs(2);

/// The client's machinery, shared by its clones.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) settings: ClientSettings,
    pub(super) breaker: Breaker,
    pub(super) deadline: Option<Instant>,
    http: Client,
    key: Option<HeaderValue>,
    bearer: Option<HeaderValue>,
    budget: Budget,
    trace: TraceContext,
}

impl Transport {
    pub(super) fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let usage = |reason: &str| ClientError::new(ErrorKind::Usage, "client", reason);
        if settings.api_key.is_empty() && settings.bearer.is_none() {
            return Err(ClientError::new(
                ErrorKind::Auth,
                "client",
                "has no API key",
            ));
        }
        let header = |text: &str, what: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| {
                usage(&format!(
                    "has {what} with characters that no header can hold"
                ))
            })?;
            value.set_sensitive(true);
            Ok::<_, ClientError>(value)
        };
        let key = Some(settings.api_key.expose())
            .filter(|key| !key.is_empty())
            .map(|key| header(key, "an API key"))
            .transpose()?;
        let bearer = settings
            .bearer
            .as_ref()
            .map(|token| header(&format!("Bearer {}", token.expose()), "a token"))
            .transpose()?;
        let http = http_client(
            &settings.base,
            settings.ca_pem.as_deref(),
            settings.identity.as_ref(),
            settings.connect_timeout,
        )
        .map_err(|reason| usage(&format!("cannot be set up: {reason}")))?;
        Ok(Self {
            breaker: Breaker::new(settings.breaker),
            budget: Budget::new(settings.retry.budget),
            deadline: settings.deadline.map(|left| Instant::now() + left),
            trace: settings.trace.clone().unwrap_or_else(TraceContext::root),
            settings,
            http,
            key,
            bearer,
        })
    }

    /// Sends a call and reads its JSON answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        self.send(call).await?.json(call)
    }

    /// Sends a call, again where that is safe and may help.
    pub(super) async fn send(&self, call: &Call) -> Result<Reply, ClientError> {
        let lost = AtomicBool::new(false);
        let result = (|| self.attempt(call))
            .retry(self.settings.retry.backoff())
            .when(|failed: &Failed| {
                lost.fetch_or(failed.lost, Ordering::Relaxed);
                failed.again
            })
            .adjust(|failed, wait| self.wait(&failed.error, wait))
            .notify(|failed, wait| {
                tracing::debug!(error = %failed.error, wait_ms = wait.as_millis(), "trying again");
            })
            .await;
        let failed = match result {
            Ok(reply) => {
                self.budget.earn();
                return Ok(reply);
            }
            Err(failed) => failed,
        };
        // A read changes nothing, so it does not matter what became of one.
        let unknown = failed.lost || lost.load(Ordering::Relaxed);
        if call.idempotency_key.is_none() || !unknown || failed.settles() {
            return Err(failed.error);
        }
        match self.look_up(call, failed).await {
            Ok(reply) => {
                self.budget.earn();
                Ok(reply)
            }
            Err(failed) => {
                let settled = failed.settles();
                let mut error = failed.error;
                if !settled {
                    error.outcome_unknown.clone_from(&call.idempotency_key);
                }
                Err(error)
            }
        }
    }

    /// Finds out what became of a write whose answer was lost: the same call under the same key
    /// is answered as the first was, or done now.
    ///
    /// A server that is being restarted needs a moment, so this is more patient than a retry.
    async fn look_up(&self, call: &Call, first: Failed) -> Result<Reply, Failed> {
        let policy = &self.settings.retry;
        let patient = Instant::now() + policy.patience;
        let end = self
            .deadline
            .map_or(patient, |deadline| deadline.min(patient));
        let mut wait = policy.first_wait;
        let mut asked = first.wait();
        loop {
            wait = (wait * 2).min(LOOK_UP_WAIT);
            let pause = asked + wait.mul_f64(rand::random_range(0.5..1.0));
            if Instant::now() + pause >= end || !self.budget.take() {
                return Err(first);
            }
            tracing::debug!(
                request = call.line(),
                wait_ms = pause.as_millis(),
                "looking up what became of it"
            );
            tokio::time::sleep(pause).await;
            match self.attempt(call).await {
                Ok(reply) => return Ok(reply),
                Err(failed) if failed.settles() => return Err(failed),
                Err(failed) if !failed.may_pass() => return Err(first),
                Err(failed) => asked = failed.wait(),
            }
        }
    }

    /// Decides how long to wait before the next attempt; `None` gives up.
    fn wait(&self, error: &ClientError, backoff: Option<Duration>) -> Option<Duration> {
        let asked = error.retry_after.unwrap_or_default();
        // On top of what was asked for, so that not everybody comes back at the same instant.
        let wait = backoff? + asked;
        let in_time = self
            .deadline
            .is_none_or(|deadline| Instant::now() + wait < deadline);
        (asked <= self.settings.retry.longest_wait && in_time && self.budget.take()).then_some(wait)
    }

    async fn attempt(&self, call: &Call) -> Result<Reply, Failed> {
        let line = call.line();
        let (limit, last) = self.limit(&line).map_err(Failed::finally)?;
        let permit = self.breaker.admit(Instant::now()).map_err(|rejected| {
            Failed::finally(ClientError::new(
                ErrorKind::BreakerOpen {
                    retry_in: rejected.retry_in,
                },
                &line,
                format!(
                    "was not sent: {} failed too often, next try in {:.1} s",
                    self.settings.base,
                    rejected.retry_in.as_secs_f32()
                ),
            ))
        })?;
        let begun = Instant::now();
        let result = tokio::time::timeout(limit, self.exchange(call, &line)).await;
        let result = result.unwrap_or_else(|_| Err(self.no_answer(&line, limit, last)));
        let outcome = outcome(call.surface, &result);
        permit.settle(outcome, Instant::now());
        let (status, request_id) = match &result {
            Ok(reply) => (Some(reply.status.as_u16()), reply.request_id.as_deref()),
            Err(failed) => (failed.error.status(), failed.error.request_id.as_deref()),
        };
        tracing::debug!(
            request = line,
            status,
            request_id,
            trace = self.trace.trace_id(),
            elapsed_ms = begun.elapsed().as_millis(),
            "asked the Tenant Manager"
        );
        result
    }

    /// Returns how long an attempt may take, and whether the deadline of the command limits it.
    pub(super) fn limit(&self, line: &str) -> Result<(Duration, bool), ClientError> {
        let Some(deadline) = self.deadline else {
            return Ok((self.settings.timeout, false));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::new(
                ErrorKind::Deadline,
                line,
                "was not sent: the deadline has passed",
            ));
        }
        Ok((
            left.min(self.settings.timeout),
            left < self.settings.timeout,
        ))
    }

    fn no_answer(&self, line: &str, limit: Duration, last: bool) -> Failed {
        let kind = if last {
            ErrorKind::Deadline
        } else {
            ErrorKind::Unavailable
        };
        let reason = format!(
            "got no whole answer from {} within {:.1} s",
            self.settings.base,
            limit.as_secs_f32()
        );
        Failed {
            error: ClientError::new(kind, line, reason),
            again: !last,
            lost: true,
        }
    }

    async fn exchange(&self, call: &Call, line: &str) -> Result<Reply, Failed> {
        let response = self.open(call, line).await?;
        let status = response.status();
        let headers = response.headers().clone();
        let request_id = request_id(&headers);
        let limit = if status.is_success() {
            self.settings.max_body
        } else {
            ERROR_BODY
        };
        let body = match self.read(response, limit, line).await {
            Ok(body) => body,
            // The status alone says enough.
            Err(_) if !status.is_success() => Vec::new(),
            Err(mut failed) => {
                failed.error.request_id = request_id;
                return Err(failed);
            }
        };
        if status.is_success() {
            return Ok(Reply {
                status,
                body,
                content_type: text(&headers, CONTENT_TYPE.as_str()),
                request_id,
            });
        }
        let mut failed = refusal(call, line, status, &headers, &body);
        failed.error.request_id = request_id;
        Err(failed)
    }

    /// Sends the request and returns the answer's head.
    async fn open(&self, call: &Call, line: &str) -> Result<Response, Failed> {
        let mut request = self
            .http
            .request(call.method.clone(), call.url(&self.settings.base))
            .header(ACCEPT, "application/json")
            .header("traceparent", self.trace.child().to_string());
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key.clone());
        }
        if let Some(bearer) = &self.bearer
            && call.surface != Surface::Connections
        {
            request = request.header(AUTHORIZATION, bearer.clone());
        }
        if let Some(state) = self.trace.state() {
            request = request.header("tracestate", state);
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        request
            .send()
            .await
            .map_err(|error| self.broken(&error, line))
    }

    /// Reads a body, and stops as soon as it is too long.
    async fn read(&self, response: Response, limit: usize, line: &str) -> Result<Vec<u8>, Failed> {
        match limited(response, limit).await {
            Ok(body) => Ok(body),
            Err(Cut::TooLong) => Err(Failed::finally(too_long(line, limit))),
            Err(Cut::Broken(error)) => Err(self.broken(&error, line)),
        }
    }

    /// Explains a failed connection.
    fn broken(&self, error: &reqwest::Error, line: &str) -> Failed {
        let cause = root_cause(error);
        let base = &self.settings.base;
        if error.is_builder() {
            let reason = format!("cannot be sent: {cause}");
            return Failed::finally(ClientError::new(ErrorKind::Usage, line, reason));
        }
        if error.is_connect() {
            return Failed {
                error: ClientError::new(
                    ErrorKind::Unavailable,
                    line,
                    format!("cannot reach {base}: {cause}"),
                ),
                // A certificate does not become valid by asking again.
                again: !is_tls(error),
                lost: false,
            };
        }
        let what = if error.is_body() || error.is_decode() {
            "got an answer that breaks off"
        } else {
            "lost its connection before an answer"
        };
        Failed {
            error: ClientError::new(
                ErrorKind::Unavailable,
                line,
                format!("{what} ({base}): {cause}"),
            ),
            again: true,
            lost: true,
        }
    }

    /// Opens a stream of lines; the time limit holds for the head of the answer only.
    pub(super) async fn stream(&self, call: &Call) -> Result<Response, ClientError> {
        let line = call.line();
        let (limit, last) = self.limit(&line)?;
        let work = async {
            let response = self.open(call, &line).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let headers = response.headers().clone();
            let body = self.read(response, ERROR_BODY, &line).await;
            let mut failed = refusal(call, &line, status, &headers, &body.unwrap_or_default());
            failed.error.request_id = request_id(&headers);
            Err(failed)
        };
        let result = tokio::time::timeout(limit, work).await;
        result
            .unwrap_or_else(|_| Err(self.no_answer(&line, limit, last)))
            .map_err(|failed| failed.error)
    }
}
