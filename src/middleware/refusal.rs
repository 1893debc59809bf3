//! What a caller is answered instead of being served: the products' statuses and codes.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::client::{ClientError, ErrorKind};
use crate::token::Unacceptable;

/// Seconds after which a caller may try again where every place is taken.
const RETRY_AFTER_SECONDS: u16 = 5;

/// The body of an error, as the products' common library writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEnvelope {
    /// Stable code.
    pub code: String,
    /// The same in a few words.
    pub title: String,
    /// One sentence for a person.
    pub message: String,
}

/// Why a request is not served. Says nothing that a stranger must not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable code.
    pub code: &'static str,
    /// The same in a few words.
    pub title: &'static str,
    /// One sentence for a person.
    pub message: String,
    /// Seconds after which it may be otherwise.
    pub retry_after: Option<u16>,
}

impl Refusal {
    /// Builds a refusal.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            message: message.into(),
            retry_after: None,
        }
    }

    fn unauthorized(code: &'static str, message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, "Unauthorized", message)
    }

    /// No token.
    pub fn missing_token() -> Self {
        Self::unauthorized("MISSING_TOKEN", "Authorization token is required")
    }

    /// A token that does not count.
    pub fn invalid_token() -> Self {
        Self::unauthorized("INVALID_TOKEN", "Failed to parse authorization token")
    }

    /// A tenant that the Tenant Manager does not know.
    pub fn not_found(tenant: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "TENANT_NOT_FOUND",
            "Tenant Not Found",
            format!("tenant not found: {tenant}"),
        )
    }

    /// A module without a database, a breaker that is open, or a pool that was closed.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SERVICE_UNAVAILABLE",
            "Service Unavailable",
            "Service temporarily unavailable",
        )
    }

    /// Everything that keeps a known tenant's database from being opened.
    pub fn database() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "TENANT_DB_ERROR",
            "Failed to resolve tenant database",
            "Internal server error",
        )
    }

    /// More tenants are in use than there may be pools.
    pub fn capacity() -> Self {
        Self {
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "0466",
                "Tenant Capacity Reached",
                "this process serves as many tenants as it may; try again later",
            )
        }
    }

    /// What the Tenant Manager's failure means to the bearer of a token of `tenant`.
    pub fn of_manager(error: &ClientError, tenant: &str) -> Self {
        let forbidden = |title, message| Self::new(StatusCode::FORBIDDEN, "0131", title, message);
        match &error.kind {
            ErrorKind::NotFound => Self::not_found(tenant),
            ErrorKind::Suspended { status } => {
                forbidden("Service Suspended", format!("tenant service is {status}"))
            }
            ErrorKind::Auth if error.status() == Some(403) => {
                forbidden("Access Denied", "tenant service access denied".to_owned())
            }
            ErrorKind::BreakerOpen { .. } => Self::unavailable(),
            _ => Self::database(),
        }
    }
}

impl From<&Unacceptable> for Refusal {
    fn from(reason: &Unacceptable) -> Self {
        match reason {
            Unacceptable::NoTenant => {
                Self::unauthorized("MISSING_TENANT", "tenantId is required in JWT token")
            }
            Unacceptable::BadTenant => {
                Self::unauthorized("INVALID_TENANT", "tenantId has invalid format")
            }
            _ => Self::invalid_token(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = ErrorEnvelope {
            code: self.code.to_owned(),
            title: self.title.to_owned(),
            message: self.message,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
