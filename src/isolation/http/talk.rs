//! Requests and answers. Nothing is followed, kept or repeated.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use super::recipe::Upload;
use crate::link::tls;
use crate::secret::{hex, random_bytes};

/// Longest answer that is read.
const BODY: usize = 4 * 1024 * 1024;
/// Refusals that are kept to be searched for what they give away.
const KEPT: usize = 400;
/// Longest time for an answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the code of an error's body, when it has one.
    pub(super) fn code(&self) -> String {
        let body = self.json();
        let code = body["code"].as_str().unwrap_or_default();
        code.chars().filter(|c| !c.is_control()).take(40).collect()
    }

    /// Returns status and code, for evidence. Never any of the data.
    pub(super) fn words(&self) -> String {
        match self.code().as_str() {
            "" => self.status.to_string(),
            code => format!("{} {code}", self.status),
        }
    }
}

/// What a request carries besides method and path.
#[derive(Debug, Default, Clone)]
pub(super) struct Extra {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Value>,
    /// A file that goes along; the body is sent as fields of a form then.
    pub(super) upload: Option<Upload>,
}

/// Returns a form with a file, and its type.
fn form(body: &Value, upload: &Upload) -> (String, String) {
    let boundary = format!("lerianctl-{}", hex(&random_bytes::<16>()));
    let name = |text: &str| {
        text.replace('\r', "%0D")
            .replace('\n', "%0A")
            .replace('"', "%22")
    };
    let mut text = String::new();
    for (field, value) in body.as_object().into_iter().flatten() {
        let plain = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(
            text,
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{plain}\r\n",
            name(field)
        );
    }
    let _ = write!(
        text,
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: \
         application/octet-stream\r\n\r\n{}\r\n--{boundary}--\r\n",
        name(&upload.field),
        name(&upload.name),
        upload.content
    );
    (format!("multipart/form-data; boundary={boundary}"), text)
}

/// A way to one server.
pub(super) struct Talk {
    client: reqwest::Client,
    base: Url,
    refusals: Mutex<Vec<(String, String)>>,
}

impl Talk {
    pub(super) fn new(base: &Url) -> Result<Self, String> {
        let tls = tls::http_config(base, None, None).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("lerianctl/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tls_backend_preconfigured(tls)
            .connect_timeout(Duration::from_secs(5))
            .timeout(DEADLINE)
            .no_proxy()
            .build()
            .map_err(|_| "no HTTP client can be made".to_owned())?;
        Ok(Self {
            client,
            base: base.clone(),
            refusals: Mutex::default(),
        })
    }

    /// Returns where it leads, for a report.
    pub(super) fn place(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Sends a request. `authorization` is the whole value of the header.
    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        authorization: Option<&str>,
        extra: &Extra,
    ) -> Result<Answer, String> {
        let base = self.base.as_str().trim_end_matches('/');
        let mut request = self.client.request(method.clone(), format!("{base}{path}"));
        if let Some(value) = authorization {
            let mut value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| "the token cannot stand in a header".to_owned())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in &extra.headers {
            request = request.header(name, value);
        }
        request = match (&extra.body, &extra.upload) {
            (Some(body), Some(upload)) => {
                let (kind, form) = form(body, upload);
                request.header(CONTENT_TYPE, kind).body(form)
            }
            (Some(body), None) => request.json(body),
            (None, _) => request,
        };
        // Without the URL: it is said elsewhere.
        let failed = |error: reqwest::Error| {
            let what = if error.is_timeout() {
                "does not answer in time"
            } else if error.is_connect() {
                "cannot be reached"
            } else {
                "breaks off"
            };
            format!("{} {what}", self.place())
        };
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > BODY {
                return Err(format!("{} answers more than {BODY} bytes", self.place()));
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&bytes).into_owned();
        if status >= 400 {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.len() < KEPT {
                refusals.push((format!("{method} {path}: {status}"), body.clone()));
            }
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Returns the refusals so far: what was asked, and the body.
    pub(super) fn refusals(&self) -> Vec<(String, String)> {
        let refusals = self.refusals.lock();
        refusals.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
