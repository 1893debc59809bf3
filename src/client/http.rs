//! HTTP without a Tenant Manager: clients, bodies that end in time, and causes.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Client, Response};
use url::Url;

use super::answer::class;
use super::error::{ClientError, ErrorKind};
use crate::link::tls::ClientIdentity;
use crate::link::{LinkError, tls};

/// Longest public document.
const PUBLIC_BODY: usize = 1024 * 1024;

/// Why a body could not be read.
pub(super) enum Cut {
    TooLong,
    Broken(reqwest::Error),
}

/// Reads a body, and stops as soon as it is too long.
pub(super) async fn limited(mut response: Response, limit: usize) -> Result<Vec<u8>, Cut> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(Cut::TooLong);
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(Cut::TooLong),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(Cut::Broken(error)),
        }
    }
}

pub(super) fn too_long(line: &str, limit: usize) -> ClientError {
    ClientError::new(
        ErrorKind::Protocol,
        line,
        format!("answered with more than {limit} bytes"),
    )
}

/// Fetches public JSON, such as a key set, from an address that may be anybody's: no API key is
/// sent, no redirect is followed, at most 1 MiB is read.
pub async fn public_json(url: &Url, limit: Duration) -> Result<serde_json::Value, ClientError> {
    let line = format!("GET {}", url.path());
    let failed = |kind, reason: String| ClientError::new(kind, &line, reason);
    let host = url.host_str().unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") {
        let reason = "cannot be sent: it must be an http:// or https:// URL".to_owned();
        return Err(failed(ErrorKind::Usage, reason));
    }
    let http =
        http_client(url, None, None, limit).map_err(|reason| failed(ErrorKind::Usage, reason))?;
    let work = async {
        let request = http.get(url.clone()).header(ACCEPT, "application/json");
        let response = request.send().await.map_err(|error| {
            let reason = format!("cannot reach {host}: {}", root_cause(&error));
            failed(ErrorKind::Unavailable, reason)
        })?;
        let status = response.status();
        if !status.is_success() {
            let reason = format!("answered {}", status.as_u16());
            return Err(failed(ErrorKind::Unavailable, reason));
        }
        limited(response, PUBLIC_BODY)
            .await
            .map_err(|cut| match cut {
                Cut::TooLong => too_long(&line, PUBLIC_BODY),
                Cut::Broken(error) => {
                    let reason = format!("got an answer that breaks off: {}", root_cause(&error));
                    failed(ErrorKind::Unavailable, reason)
                }
            })
    };
    let body = tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| {
            let reason = format!(
                "got no whole answer from {host} within {:.1} s",
                limit.as_secs_f32()
            );
            Err(failed(ErrorKind::Unavailable, reason))
        })?;
    serde_json::from_slice(&body).map_err(|error| {
        let reason = format!(
            "answered with something that is not JSON: {}",
            class(&error)
        );
        failed(ErrorKind::Protocol, reason)
    })
}

/// Builds the HTTP client for one server.
pub(super) fn http_client(
    base: &Url,
    ca_pem: Option<&str>,
    identity: Option<&ClientIdentity>,
    connect_timeout: Duration,
) -> Result<Client, String> {
    let tls = tls::http_config(base, ca_pem, identity).map_err(|error| match error {
        LinkError::Tls { reason, .. } => reason,
        other => other.to_string(),
    })?;
    let mut builder = Client::builder()
        .user_agent(concat!("lerianctl/", env!("CARGO_PKG_VERSION")))
        // Shared HTTP/2 connections failed under concurrency upstream; the contract is 1.1.
        .http1_only()
        // The API key is not among the headers that are dropped on the way to another host.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tls_backend_preconfigured(tls)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(Duration::from_secs(90));
    if base.host_str().is_some_and(is_this_machine) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| root_cause(&error))
}

/// Returns the innermost cause, which is the one that helps; reqwest's own text has the URL.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = None;
    while let Some(inner) = cause {
        text = Some(inner.to_string());
        cause = inner.source();
    }
    text.unwrap_or_else(|| "the connection failed".to_owned())
}

pub(super) fn is_tls(error: &reqwest::Error) -> bool {
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
pub(super) fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
