//! Redis and Valkey: endpoints and sessions, standalone and cluster.

mod session;
mod topology;

pub use session::{Mode, Role, Session};
pub use topology::{Deployment, Node};

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use redis::{ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{LinkError, tls};
use crate::secret::Secret;

/// Longest time to reach a server and log in.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for a TLS handshake, within [`CONNECT_DEADLINE`].
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(4);
/// Longest time to wait for an answer.
pub const RESPONSE_DEADLINE: Duration = Duration::from_secs(15);

/// How a Redis server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisEndpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// ACL user; the default user when absent.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Whether to use TLS.
    pub tls: bool,
    /// Certificates to trust, PEM; the system's roots when absent.
    pub ca_pem: Option<String>,
    /// Database number; 0 for events.
    pub database: i64,
}

/// What a session runs on: plain TCP or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl RedisEndpoint {
    /// Reads `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS.
    ///
    /// User and password are percent-decoded. The error never repeats the text.
    pub fn parse_url(text: &str) -> Result<Self, LinkError> {
        let fail = |reason: &str| {
            Err(LinkError::Address {
                what: "the Redis URL".into(),
                reason: reason.into(),
            })
        };
        // The parser's own messages are fixed sentences, without any of the input.
        let url = match url::Url::parse(text.trim()) {
            Ok(url) => url,
            Err(error) => return fail(&error.to_string()),
        };
        let tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return fail("it starts with `redis://`, or `rediss://` for TLS"),
        };
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => host.trim_start_matches('[').trim_end_matches(']'),
            _ => return fail("the host is missing"),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return fail("parameters after `?` or `#` are not supported");
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => match number.parse::<u16>() {
                Ok(number) => i64::from(number),
                Err(_) => return fail("what follows the host is a database number"),
            },
        };
        let Some(username) = decoded(url.username()) else {
            return fail("the user is not UTF-8");
        };
        let Some(password) = decoded(url.password().unwrap_or_default()) else {
            return fail("the password is not UTF-8");
        };
        if !username.is_empty() && password.is_empty() {
            return fail(
                "it names a user without a password; write `:password@` for the default user",
            );
        }
        Ok(Self {
            host: host.to_owned(),
            port: url.port().unwrap_or(6379),
            username: (!username.is_empty()).then_some(username),
            password: (!password.is_empty()).then(|| Secret::new(password)),
            tls,
            ca_pem: None,
            database,
        })
    }

    /// Returns `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns the endpoint in words for a person, without the password.
    pub fn describe(&self) -> String {
        let mut text = self.address();
        if self.database != 0 {
            let _ = write!(text, ", database {}", self.database);
        }
        if let Some(user) = &self.username {
            let _ = write!(text, ", user {}", printable(user));
        }
        if self.tls {
            text.push_str(", TLS");
        }
        text
    }

    /// Connects and logs in, within [`CONNECT_DEADLINE`].
    pub async fn connect(&self) -> Result<Session, LinkError> {
        self.within_deadline(Session::open(self)).await
    }

    /// Connects for subscribing, within [`CONNECT_DEADLINE`].
    pub async fn subscriber(&self) -> Result<redis::aio::PubSub, LinkError> {
        self.within_deadline(async {
            let stream = self.stream().await?;
            redis::aio::PubSub::new(&self.login(), stream)
                .await
                .map_err(|error| self.failure(&error))
        })
        .await
    }

    /// Connects to every server that owns keys: the one server, or a cluster's primaries.
    pub async fn primaries(&self) -> Result<Deployment, LinkError> {
        Deployment::open(self).await
    }

    async fn within_deadline<T>(
        &self,
        work: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        tokio::time::timeout(CONNECT_DEADLINE, work)
            .await
            .unwrap_or_else(|_| {
                Err(self.unreachable(format!("no answer within {} s", CONNECT_DEADLINE.as_secs())))
            })
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, LinkError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
            .map_err(|error| self.unreachable(error.to_string()))?;
        if !self.tls {
            return Ok(Box::new(tcp));
        }
        let failed = |reason: String| LinkError::Tls {
            target: self.address(),
            reason,
        };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| failed("its host cannot be the name of a certificate".into()))?;
        let config = tls::client_config(self.ca_pem.as_deref())?;
        // A server without TLS takes the greeting for the beginning of a line and waits for more.
        let handshake = tokio_rustls::TlsConnector::from(config).connect(name, tcp);
        let tls = tokio::time::timeout(HANDSHAKE_DEADLINE, handshake)
            .await
            .map_err(|_| failed("the handshake is not answered; is this a TLS port?".into()))?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Box::new(tls))
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_lib_name("lerianctl", env!("CARGO_PKG_VERSION"))
            .set_db(self.database);
        if let Some(user) = &self.username {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.expose());
        }
        login
    }

    pub(crate) fn unreachable(&self, reason: impl Into<String>) -> LinkError {
        LinkError::Unreachable {
            target: self.address(),
            reason: reason.into(),
        }
    }

    pub(crate) fn rejected(&self, reason: impl Into<String>) -> LinkError {
        LinkError::Rejected {
            target: self.address(),
            reason: reason.into(),
        }
    }

    /// Sorts what the driver reports into what a caller can act on.
    pub(crate) fn failure(&self, error: &RedisError) -> LinkError {
        let target = self.describe();
        let code = error.code().unwrap_or_default();
        let reason = || match (code, error.detail()) {
            ("", Some(detail)) => printable(detail),
            (_, Some(detail)) => printable(&format!("{code} {detail}")),
            _ => printable(&error.to_string()),
        };
        if error.kind() == ErrorKind::AuthenticationFailed
            || matches!(code, "WRONGPASS" | "NOAUTH" | "DENIED")
        {
            let reason = match code {
                "NOAUTH" => "it asks for a password and none is configured".into(),
                _ => reason(),
            };
            return LinkError::Refused { target, reason };
        }
        if error.is_timeout() {
            let limit = RESPONSE_DEADLINE.as_secs();
            return self.unreachable(format!("no answer within {limit} s"));
        }
        if error.is_io_error() || error.is_connection_dropped() {
            return self.unreachable(format!("the connection broke: {error}"));
        }
        if matches!(code, "LOADING" | "MASTERDOWN" | "CLUSTERDOWN") {
            return self.unreachable(reason());
        }
        self.rejected(reason())
    }
}

fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

/// Returns what a server said in one line of bounded length, safe for a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_every_part() {
        let full =
            RedisEndpoint::parse_url("rediss://app:p%40ss%2Fw%3Ard@redis.example:6380/3").unwrap();
        assert_eq!(full.address(), "redis.example:6380");
        assert_eq!(full.username.as_deref(), Some("app"));
        assert_eq!(full.password.as_ref().unwrap().expose(), "p@ss/w:rd");
        assert!(full.tls);
        assert_eq!(full.database, 3);
        assert_eq!(
            full.describe(),
            "redis.example:6380, database 3, user app, TLS"
        );

        let bare = RedisEndpoint::parse_url("redis://[::1]").unwrap();
        assert_eq!(bare.address(), "[::1]:6379");
        assert_eq!((bare.username, bare.password), (None, None));

        let default_user = RedisEndpoint::parse_url("redis://:s3cret@h").unwrap();
        assert_eq!(default_user.username, None);
        assert_eq!(default_user.password.unwrap().expose(), "s3cret");
    }

    #[test]
    fn an_error_never_repeats_the_password() {
        for text in [
            "redis//:hunter2@h",
            "http://:hunter2@h",
            "redis://:hunter2@h:99999",
            "redis://:hunter2@",
            "redis://:hunter2@h/zero",
            "redis://:hunter2@h/0?db=1",
            "redis://user@h?hunter2",
            "hunter2",
            "redis://:%ffhunter2@h",
            "redis://hunter2@h",
        ] {
            let error = RedisEndpoint::parse_url(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
        }
    }
}
