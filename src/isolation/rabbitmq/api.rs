//! The management interface over HTTP. Reads only.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::facts::Broker;
use crate::link::tls;
use crate::secret::Secret;

const DEADLINE: Duration = Duration::from_secs(30);
/// Largest answer.
const BYTES: usize = 256 * 1024 * 1024;

/// How the management interface is reached.
#[derive(Clone)]
pub struct Management {
    base: Url,
    /// User that logs in.
    pub username: String,
    password: Secret,
    client: Client,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Management")
            .field("base", &self.base.as_str())
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Management {
    /// Reads `http://user:password@host:15672`; the error never repeats the text.
    pub fn parse_url(text: &str, ca_pem: Option<&str>) -> Result<Self, String> {
        let mut base = Url::parse(text.trim()).map_err(|error| error.to_string())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err("it starts with `http://` or `https://` and names a host".into());
        }
        let decode = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.map(std::borrow::Cow::into_owned)
                .map_err(|_| "user and password are UTF-8".to_owned())
        };
        let username = decode(base.username())?;
        let password = Secret::new(decode(base.password().unwrap_or_default())?);
        if username.is_empty() || password.is_empty() {
            return Err("it has a user and a password: http://user:password@host:15672".into());
        }
        let _ = base.set_username("");
        let _ = base.set_password(None);
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let config = tls::http_config(&base, ca_pem, None).map_err(|error| error.to_string())?;
        let mut builder = Client::builder()
            .user_agent(concat!("lerianctl/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(config)
            .timeout(DEADLINE);
        if is_local(base.host_str().unwrap_or_default()) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(|error| error.to_string())?,
            base,
            username,
            password,
        })
    }

    /// Returns `host:port`.
    pub fn address(&self) -> String {
        format!(
            "{}:{}",
            self.base.host_str().unwrap_or_default(),
            self.base.port_or_known_default().unwrap_or_default()
        )
    }

    /// Returns true when passwords cross a network in clear on the way to it.
    pub(super) fn is_in_clear(&self) -> bool {
        self.base.scheme() == "http" && !is_local(self.base.host_str().unwrap_or_default())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, String> {
        let url = self.base.join(path).map_err(|error| error.to_string())?;
        let mut answer = self
            .client
            .get(url)
            .basic_auth(&self.username, Some(self.password.expose()))
            .send()
            .await
            .map_err(|error| {
                let error = error.without_url();
                format!("{} cannot be reached: {error}", self.address())
            })?;
        match answer.status() {
            StatusCode::OK => {}
            // A plugin that is not there has nothing to tell.
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(format!("{} answered {status} to {path}", self.address())),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| error.without_url().to_string())?
        {
            if body.len() + chunk.len() > BYTES {
                return Err(format!("{path}: the answer is larger than 256 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|_| format!("{path}: the answer is not what RabbitMQ says"))
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, String> {
        Ok(self.get(path).await?.unwrap_or_default())
    }

    /// Reads everything that is judged.
    pub(super) async fn read(&self) -> Result<Broker, String> {
        let needed = |()| format!("{} has no management interface", self.address());
        Ok(Broker {
            overview: self
                .get("api/overview?columns=rabbitmq_version,listeners")
                .await?
                .ok_or(())
                .map_err(needed)?,
            vhosts: self.list("api/vhosts?columns=name,tracing").await?,
            users: self.list("api/users?columns=name,tags").await?,
            permissions: self.list("api/permissions").await?,
            topics: self.list("api/topic-permissions").await?,
            queues: self
                .list("api/queues?columns=name,vhost,arguments,messages")
                .await?,
            exchanges: self
                .list("api/exchanges?columns=name,vhost,type,arguments")
                .await?,
            bindings: self
                .list("api/bindings?columns=source,destination,destination_type,routing_key,vhost")
                .await?,
            parameters: self.list("api/parameters").await?,
            policies: self.list("api/policies").await?,
            limits: self.list("api/vhost-limits").await?,
        })
    }
}

pub(super) fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_used_is_not_repeated() {
        for text in [
            "hunter2",
            "ftp://a:hunter2@h",
            "http://hunter2@h",
            "http://:hunter2@h",
        ] {
            let error = Management::parse_url(text, None).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let good = Management::parse_url("http://a:hunter2@[::1]:15672/rabbit", None).unwrap();
        assert_eq!(good.address(), "[::1]:15672");
        assert!(!format!("{good:?}").contains("hunter2"));
    }
}
