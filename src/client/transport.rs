//! Sending a call: deadlines, limits, breaker, retries, and what an answer means.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::Retryable;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::Url;

use super::ClientSettings;
use super::breaker::{Breaker, Outcome};
use super::call::{Call, Surface};
use super::error::{Answer, ClientError, ErrorKind};
use super::retry::{Budget, retry_after};
use crate::contract::wire::ErrorBody;
use crate::link::tls;

/// Longest error body that is read.
const ERROR_BODY: usize = 64 * 1024;
/// Longest message of a server that is repeated, as in Lerian's client.
const ERROR_TEXT: usize = 512;

/// The client's machinery, shared by its clones.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) settings: ClientSettings,
    pub(super) breaker: Breaker,
    pub(super) deadline: Option<Instant>,
    http: Client,
    key: HeaderValue,
    budget: Budget,
}

/// A successful answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    body: Vec<u8>,
    content_type: String,
    request_id: Option<String>,
}

/// A failed attempt.
struct Failed {
    error: ClientError,
    /// Whether another attempt may help.
    again: bool,
    /// Whether the server may have acted on it.
    lost: bool,
}

impl Failed {
    fn finally(error: ClientError) -> Self {
        Self {
            error,
            again: false,
            lost: false,
        }
    }
}

impl Transport {
    pub(super) fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let usage = |reason: &str| ClientError::new(ErrorKind::Usage, "client", reason);
        if settings.api_key.is_empty() {
            return Err(ClientError::new(
                ErrorKind::Auth,
                "client",
                "has no API key",
            ));
        }
        let mut key = HeaderValue::from_str(settings.api_key.expose())
            .map_err(|_| usage("has an API key with characters that no header can hold"))?;
        key.set_sensitive(true);
        tls::install();
        let mut builder = Client::builder()
            .user_agent(concat!("lerianctl/", env!("CARGO_PKG_VERSION")))
            // Shared HTTP/2 connections failed under concurrency upstream; the contract is 1.1.
            .http1_only()
            // The API key is not among the headers that are dropped on the way to another host.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(90));
        if settings.base.host_str().is_some_and(is_this_machine) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| usage(&format!("cannot be set up: {}", root_cause(&error))))?;
        Ok(Self {
            breaker: Breaker::new(settings.breaker),
            budget: Budget::new(settings.retry.budget),
            deadline: settings.deadline.map(|left| Instant::now() + left),
            settings,
            http,
            key,
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
        match result {
            Ok(reply) => {
                self.budget.earn();
                Ok(reply)
            }
            Err(failed) => {
                let mut error = failed.error;
                // What the server says about the last attempt settles the earlier ones, which had
                // the same key; no answer settles nothing.
                let open = failed.lost || error.answer.is_none();
                if open && (failed.lost || lost.load(Ordering::Relaxed)) {
                    error.outcome_unknown.clone_from(&call.idempotency_key);
                }
                Err(error)
            }
        }
    }

    /// Decides how long to wait before the next attempt; `None` gives up.
    fn wait(&self, error: &ClientError, backoff: Option<Duration>) -> Option<Duration> {
        let wait = backoff?.max(error.retry_after.unwrap_or_default());
        let in_time = self
            .deadline
            .is_none_or(|deadline| Instant::now() + wait < deadline);
        (wait <= self.settings.retry.longest_wait && in_time && self.budget.take()).then_some(wait)
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
            elapsed_ms = begun.elapsed().as_millis(),
            "asked the Tenant Manager"
        );
        result
    }

    /// Returns how long an attempt may take, and whether the deadline of the command limits it.
    fn limit(&self, line: &str) -> Result<(Duration, bool), ClientError> {
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
            .header("x-api-key", self.key.clone());
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
    async fn read(
        &self,
        mut response: Response,
        limit: usize,
        line: &str,
    ) -> Result<Vec<u8>, Failed> {
        let too_long = || {
            Failed::finally(ClientError::new(
                ErrorKind::Protocol,
                line,
                format!("answered with more than {limit} bytes"),
            ))
        };
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(too_long());
        }
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(too_long()),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) => return Err(self.broken(&error, line)),
            }
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

    /// Fetches public JSON from another address, without the API key.
    pub(super) async fn public<T: DeserializeOwned>(&self, url: &Url) -> Result<T, ClientError> {
        let line = format!("GET {}", url.path());
        let (limit, last) = self.limit(&line)?;
        let work = async {
            let request = self
                .http
                .get(url.clone())
                .header(ACCEPT, "application/json");
            let response = request.send().await.map_err(|error| {
                let cause = root_cause(&error);
                let host = url.host_str().unwrap_or_default();
                let reason = format!("cannot reach {host}: {cause}");
                Failed::finally(ClientError::new(ErrorKind::Unavailable, &line, reason))
            })?;
            let status = response.status();
            if !status.is_success() {
                let error = ClientError::new(
                    ErrorKind::Unavailable,
                    &line,
                    format!("answered {}", status.as_u16()),
                );
                return Err(Failed::finally(error));
            }
            self.read(response, 1024 * 1024, &line).await
        };
        let result = tokio::time::timeout(limit, work).await;
        let body = result
            .unwrap_or_else(|_| Err(self.no_answer(&line, limit, last)))
            .map_err(|failed| failed.error)?;
        serde_json::from_slice(&body).map_err(|error| {
            let reason = format!(
                "answered with something that is not JSON: {}",
                class(&error)
            );
            ClientError::new(ErrorKind::Protocol, &line, reason)
        })
    }
}

impl Reply {
    /// Reads the body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        // The parser's own words may quote the answer, which can hold passwords.
        serde_json::from_slice(&self.body).map_err(|error| {
            let reason = if self.content_type.contains("json") || self.content_type.is_empty() {
                format!(
                    "answered with JSON that is not what the contract says: {}",
                    class(&error)
                )
            } else {
                format!(
                    "answered with `{}` where JSON was expected: is this a Tenant Manager?",
                    self.content_type
                )
            };
            let mut error = ClientError::new(ErrorKind::Protocol, &call.line(), reason);
            error.request_id.clone_from(&self.request_id);
            error
        })
    }
}

/// Says what is wrong with JSON, and where, without quoting it.
pub(super) fn class(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it breaks off",
        serde_json::error::Category::Data => "a field has another type or is missing",
        _ => "it is malformed",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// Says what a result tells about the health of the server.
fn outcome(surface: Surface, result: &Result<Reply, Failed>) -> Outcome {
    let Err(failed) = result else {
        return Outcome::Success;
    };
    match (failed.error.status(), &failed.error.kind) {
        (Some(500..), _) | (None, ErrorKind::Unavailable) => Outcome::Failure,
        (Some(403 | 404), _) => Outcome::Success,
        (Some(400..=499), _) if surface != Surface::Connections => Outcome::Success,
        _ => Outcome::Neutral,
    }
}

/// Explains an answer that is not a success.
fn refusal(
    call: &Call,
    line: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Failed {
    let body: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let code = status.as_u16();
    let kind = match (code, call.surface) {
        (300..=399, _) => ErrorKind::Protocol,
        (404, Surface::Extension) if body.code.is_empty() => ErrorKind::Unsupported,
        (405 | 501, Surface::Extension) => ErrorKind::Unsupported,
        (404, _) => ErrorKind::NotFound,
        (403, _) => match body.status.clone().filter(|status| !status.is_empty()) {
            Some(status) => ErrorKind::Suspended { status },
            None => ErrorKind::Auth,
        },
        (401 | 407, _) => ErrorKind::Auth,
        (409 | 412 | 423, _) => ErrorKind::Conflict,
        (408 | 425 | 429 | 500.., _) => ErrorKind::Unavailable,
        _ => ErrorKind::Usage,
    };
    let message: String = body.error.chars().take(ERROR_TEXT).collect();
    let mut reason = format!("answered {code}");
    if kind == ErrorKind::Protocol {
        let target = text(headers, LOCATION.as_str());
        reason = format!("answered {code}, a redirect to `{target}`, which is not followed");
    } else if kind == ErrorKind::Unsupported {
        reason = format!("answered {code}: this server lacks the extension");
    } else if !message.is_empty() {
        reason = format!("answered {code}: {message}");
    }
    let mut error = ClientError::new(kind, line, reason);
    error.answer = Some(Answer {
        status: code,
        code: body.code.chars().take(ERROR_TEXT).collect(),
        message,
    });
    error.retry_after = retry_after(&text(headers, RETRY_AFTER.as_str()), jiff::Timestamp::now());
    Failed {
        error,
        again: matches!(code, 429 | 502 | 503 | 504),
        // A gateway may have lost the answer of a server that acted.
        lost: matches!(code, 502 | 504),
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().chars().take(200).collect()
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    Some(text(headers, "x-request-id")).filter(|id| !id.is_empty())
}

/// Returns the innermost cause, which is the one that helps; reqwest's own text has the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = None;
    while let Some(inner) = cause {
        text = Some(inner.to_string());
        cause = inner.source();
    }
    text.unwrap_or_else(|| "the connection failed".to_owned())
}

fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<std::io::Error>();
        if inner.is::<rustls::Error>()
            || io
                .and_then(std::io::Error::get_ref)
                .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Returns true for hosts that no proxy must see: the proxy would send them elsewhere.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
