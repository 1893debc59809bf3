//! Refusals, and how they look on the wire.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::registry::RegistryError;
use crate::contract::wire::ErrorBody;
use crate::provision::ProvisionError;

/// A refusal: status, stable code, one sentence.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// `noun.reason`.
    pub(crate) code: &'static str,
    /// For a person.
    pub(crate) message: String,
    /// `suspended` or `purged`, on 403.
    pub(crate) pair: Option<&'static str>,
    /// Seconds after which it is worth asking again.
    pub(crate) retry_after: Option<u32>,
    /// Whether the audit log was told of it.
    pub(crate) noted: bool,
}

/// The code of a refusal: an extension of its answer, for the log of requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    /// The code.
    pub(crate) code: &'static str,
    /// Whether the audit log was told of it.
    pub(crate) noted: bool,
}

impl ApiError {
    /// Builds a refusal.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            pair: None,
            retry_after: None,
            noted: false,
        }
    }

    /// The request cannot be read.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request.invalid", message)
    }

    /// The request can be read and asks for something that is not allowed.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "request.invalid", message)
    }

    /// The named thing does not exist.
    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// The state of things stands against it.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// Something needed does not answer; nothing was changed.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    /// The pair is refused with 403 and a status, which makes products close its pools.
    pub(crate) fn refused(pair: &'static str, code: &'static str, message: String) -> Self {
        Self {
            pair: Some(pair),
            ..Self::new(StatusCode::FORBIDDEN, code, message)
        }
    }

    /// Returns the body that goes with the status.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code.to_owned(),
            error: self.message.clone(),
            status: self.pair.map(str::to_owned),
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Stale => Self::unavailable("tenant.busy", error.to_string()),
            RegistryError::Unavailable(reason) => {
                tracing::error!(%reason, "the registry is not available");
                Self::unavailable(
                    "registry.unavailable",
                    format!("the registry is not available, nothing was changed: {reason}"),
                )
            }
            RegistryError::Unclear(reason) => {
                tracing::error!(%reason, "the registry went away during a change");
                Self::unavailable(
                    "registry.unclear",
                    format!(
                        "the registry went away during the change, which may have been made or not; ask again with the same `Idempotency-Key`: {reason}"
                    ),
                )
            }
            RegistryError::Corrupt(reason) => {
                // What is stored may be personal: it goes to the log, not to the caller.
                tracing::error!(%reason, "the registry holds something unexpected");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "registry.corrupt",
                    "the registry holds something unexpected; the server's log says what",
                )
            }
        }
    }
}

impl From<ProvisionError> for ApiError {
    fn from(error: ProvisionError) -> Self {
        if error.is_transient() {
            Self::unavailable("cluster.unavailable", error.to_string())
        } else {
            Self::conflict("cluster.refused", error.to_string())
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        response.extensions_mut().insert(Refusal {
            code: self.code,
            noted: self.noted,
        });
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
