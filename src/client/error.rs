//! What can go wrong with a Tenant Manager.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// What a caller can do about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense to us or to the server (400, 413, 422).
    Usage,
    /// The API key is missing or refused (401, or 403 without a status).
    Auth,
    /// The server does not hand out this tenant: `suspended`, `purged`, … (403 with a status).
    Suspended {
        /// The status.
        status: String,
    },
    /// The named thing does not exist (404).
    NotFound,
    /// It exists with another spec, is in the wrong state, or the plan changed (409, 412).
    Conflict,
    /// The server lacks this extension.
    Unsupported,
    /// No connection, 5xx or 429, or the connection was lost. Nothing was changed, unless
    /// [`Details::outcome_unknown`] says otherwise.
    Unavailable,
    /// The circuit breaker is open: nothing was sent.
    BreakerOpen {
        /// When the next request will be tried.
        retry_in: Duration,
    },
    /// The deadline of the whole command passed.
    Deadline,
    /// The answer makes no sense: cut off, too long, not what the contract says.
    Protocol,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its code, `noun.reason`; empty when it gave none.
    pub code: String,
    /// Its sentence; empty when it gave none. Text of a stranger: clean it before a terminal.
    pub message: String,
}

/// Why a call failed. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    details: Box<Details>,
}

/// The story behind a [`ClientError`], which dereferences to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Method and path of the request, such as `GET /v1/tenants/active`.
    pub request: String,
    /// One clause that says what happened.
    pub reason: String,
    /// What the server said, when it answered.
    pub answer: Option<Answer>,
    /// Request id of the server, when it gave one.
    pub request_id: Option<String>,
    /// How long the server asked us to wait.
    pub retry_after: Option<Duration>,
    /// Idempotency key of a write that was sent and never answered: it may have been done.
    pub outcome_unknown: Option<String>,
}

impl ClientError {
    pub(super) fn new(kind: ErrorKind, request: &str, reason: impl Into<String>) -> Self {
        let details = Details {
            request: request.to_owned(),
            reason: reason.into(),
            answer: None,
            request_id: None,
            retry_after: None,
            outcome_unknown: None,
        };
        Self {
            kind,
            details: Box::new(details),
        }
    }

    /// Returns the server's code, `noun.reason`; empty when it gave none.
    pub fn code(&self) -> &str {
        self.answer
            .as_ref()
            .map_or("", |answer| answer.code.as_str())
    }

    /// Returns the status of the answer, when there was one.
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }

    /// Returns true when the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable | ErrorKind::BreakerOpen { .. } | ErrorKind::Deadline
        )
    }
}

impl Deref for ClientError {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.details
    }
}

impl DerefMut for ClientError {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.details
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.request, self.reason)?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        if self.outcome_unknown.is_some() {
            f.write_str("; it was sent, so it may have been done")?;
        }
        Ok(())
    }
}

impl std::error::Error for ClientError {}
