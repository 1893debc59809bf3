//! Client of the Access Manager: tokens, its keys, and its decisions.
//!
//! Its interface is JSON with camelCase names. Answers are read up to a limit, redirects are not
//! followed, and nothing of a secret is ever part of an error.

use std::time::Duration;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use url::Url;

use crate::link::tls;
use crate::secret::Secret;

/// Longest answer in bytes.
const ANSWER: usize = 1024 * 1024;
/// Longest message of a stranger that is repeated.
const MESSAGE: usize = 300;
/// Longest time for one call.
const CALL: Duration = Duration::from_secs(10);

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No answer, or one that says that it is not well.
    #[error("the Access Manager is not available: {0}")]
    Unavailable(String),
    /// It refused, with this status, code and message.
    #[error("the Access Manager refused with {status}{}: {message}", coded(.code))]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its code, such as `AUT-0013`; may be empty.
        code: String,
        /// Its message, shortened.
        message: String,
    },
    /// The person has a second factor, which only a browser can be asked for.
    #[error("this person logs in with a second factor, which cannot be given here")]
    SecondFactor,
    /// The answer makes no sense.
    #[error("the Access Manager answered with something else than expected: {0}")]
    Malformed(String),
}

fn coded(code: &str) -> String {
    if code.is_empty() {
        String::new()
    } else {
        format!(" ({code})")
    }
}

/// How a token is asked for.
#[derive(Debug, Clone)]
pub enum Grant {
    /// As an application.
    ClientCredentials {
        /// Its id.
        client: String,
        /// Its secret.
        secret: Secret,
    },
    /// As a person.
    Password {
        /// Name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// With the refresh token of an earlier answer.
    Refresh(Secret),
}

/// Tokens that were given.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// For calls.
    pub access: Secret,
    /// For more of them; applications get none.
    pub refresh: Option<Secret>,
    /// Seconds that the access token is good for, when the answer says so.
    pub expires_in: Option<u64>,
}

/// Whom a decision is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A person, of an organization.
    Person {
        /// Organization, claim `owner`.
        owner: String,
        /// Claim `sub`.
        subject: String,
    },
    /// An application. The Access Manager is asked about the role of the product, as Lerian's own
    /// products do, not about the application: whoever asks must know which ones may come.
    Machine,
}

/// The Access Manager at one address.
#[derive(Debug, Clone)]
pub struct AccessManager {
    base: Url,
    http: Client,
}

fn http(url: &Url) -> Result<Client, AccessError> {
    let failed = |error: String| AccessError::Unavailable(error);
    let config = tls::http_config(url, None, None).map_err(|error| failed(error.to_string()))?;
    let mut builder = Client::builder()
        .user_agent(concat!("lerianctl/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(config)
        .timeout(CALL);
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if local {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| failed(error.to_string()))
}

/// Returns the innermost cause: reqwest's own text has the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut text = "the connection failed".to_owned();
    let mut inner = std::error::Error::source(error);
    while let Some(error) = inner {
        text = error.to_string();
        inner = error.source();
    }
    if error.is_timeout() {
        text = format!("no answer within {} s", CALL.as_secs());
    }
    text
}

async fn body(mut response: Response) -> Result<Vec<u8>, AccessError> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > ANSWER => {
                return Err(AccessError::Malformed(format!("more than {ANSWER} bytes")));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(AccessError::Unavailable(cause(&error))),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE)
        .collect()
}

/// Explains an answer that is no success.
fn refusal(status: u16, bytes: &[u8]) -> AccessError {
    let answer: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |name: &str| match &answer[name] {
        Value::String(text) => shown(text),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    if status >= 500 || status == 429 {
        return AccessError::Unavailable(format!("it answered {status}"));
    }
    let message = [text("message"), text("title"), text("error")]
        .into_iter()
        .find(|text| !text.is_empty());
    AccessError::Refused {
        status,
        code: text("code"),
        message: message.unwrap_or_else(|| "without a reason".to_owned()),
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value, AccessError> {
    let response = request
        .send()
        .await
        .map_err(|error| AccessError::Unavailable(cause(&error)))?;
    let status = response.status();
    let bytes = body(response).await?;
    if !status.is_success() {
        return Err(refusal(status.as_u16(), &bytes));
    }
    // The parser's words may quote the answer, which holds tokens.
    serde_json::from_slice(&bytes).map_err(|_| AccessError::Malformed("no JSON".into()))
}

/// Fetches a key set; its address need not be that of an Access Manager.
pub async fn key_set(url: &Url) -> Result<String, AccessError> {
    let request = http(url)?.get(url.clone());
    answer(request).await.map(|keys| keys.to_string())
}

impl AccessManager {
    /// Builds a client; nothing is sent yet.
    pub fn new(base: &Url) -> Result<Self, AccessError> {
        Ok(Self {
            http: http(base)?,
            base: base.clone(),
        })
    }

    fn call(&self, path: &str) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        self.http.request(Method::POST, url)
    }

    /// Asks for tokens.
    pub async fn tokens(&self, grant: &Grant) -> Result<Tokens, AccessError> {
        let (path, body) = match grant {
            Grant::ClientCredentials { client, secret } => (
                "/v1/login/oauth/access_token",
                json!({ "grantType": "client_credentials", "clientId": client, "clientSecret": secret.expose() }),
            ),
            Grant::Password { username, password } => (
                "/v1/login/oauth/access_token",
                json!({ "grantType": "password", "username": username, "password": password.expose() }),
            ),
            Grant::Refresh(token) => (
                "/v1/login/oauth/refresh_token",
                json!({ "refreshToken": token.expose() }),
            ),
        };
        let answer = answer(self.call(path).json(&body)).await?;
        let text = |name: &str| {
            answer[name]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(Secret::new)
        };
        let Some(access) = text("accessToken") else {
            // With a second factor the answer is a challenge instead.
            return Err(if answer["mfaToken"].is_string() {
                AccessError::SecondFactor
            } else {
                AccessError::Malformed("no `accessToken`".into())
            });
        };
        Ok(Tokens {
            access,
            refresh: text("refreshToken"),
            expires_in: answer["expiresIn"].as_u64(),
        })
    }

    /// Asks whether the bearer of a token may do something. The token goes without `Bearer `, as
    /// Lerian's products send it.
    pub async fn authorize(
        &self,
        token: &Secret,
        subject: &Subject,
        (product, resource, action): (&str, &str, &str),
    ) -> Result<bool, AccessError> {
        let body = match subject {
            Subject::Person { owner, subject } => json!({
                "sub": format!("{owner}/{subject}"),
                "resource": resource, "action": action, "product": product,
            }),
            Subject::Machine => json!({
                "sub": format!("admin/{product}-editor-role"),
                "resource": resource, "action": action,
            }),
        };
        let request = self.call("/v1/authorize").json(&body);
        let answer = answer(request.header("Authorization", token.expose())).await;
        match answer {
            Ok(answer) => Ok(answer["authorized"] == Value::Bool(true)),
            // It says no in more than one way.
            Err(AccessError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
