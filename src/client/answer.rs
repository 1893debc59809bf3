//! What an answer means.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde::de::DeserializeOwned;

use super::breaker::Outcome;
use super::call::{Call, Surface};
use super::error::{Answer, ClientError, ErrorKind};
use super::retry::retry_after;
use crate::contract::wire::ErrorBody;

/// Longest message of a server that is repeated, as in Lerian's client.
const ERROR_TEXT: usize = 512;

/// A successful answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) content_type: String,
    pub(super) request_id: Option<String>,
}

/// A failed attempt.
pub(super) struct Failed {
    pub(super) error: ClientError,
    /// Whether another attempt may help.
    pub(super) again: bool,
    /// Whether the server may have acted on it.
    pub(super) lost: bool,
}

impl Failed {
    /// Returns true when the server's word also says what became of earlier attempts under the
    /// same key: it knows the call, and has judged it.
    pub(super) fn settles(&self) -> bool {
        !self.lost
            && matches!(
                self.error.status(),
                Some(400 | 404 | 405 | 409 | 410 | 412 | 413 | 415 | 422 | 423)
            )
    }

    /// Returns true when a later attempt may go better.
    pub(super) fn may_pass(&self) -> bool {
        self.again || matches!(self.error.kind, ErrorKind::BreakerOpen { .. })
    }

    /// Returns how long to leave the server alone.
    pub(super) fn wait(&self) -> Duration {
        match self.error.kind {
            ErrorKind::BreakerOpen { retry_in } => retry_in,
            _ => self.error.retry_after.unwrap_or_default(),
        }
    }

    pub(super) fn finally(error: ClientError) -> Self {
        Self {
            error,
            again: false,
            lost: false,
        }
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
pub(super) fn outcome(surface: Surface, result: &Result<Reply, Failed>) -> Outcome {
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
pub(super) fn refusal(
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
        // Our own server says which of its 404 are about the route, not about the thing.
        (404, Surface::Extension) if matches!(body.code.as_str(), "" | "route.not_found") => {
            ErrorKind::Unsupported
        }
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

pub(super) fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().chars().take(200).collect()
}

pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    Some(text(headers, "x-request-id")).filter(|id| !id.is_empty())
}
