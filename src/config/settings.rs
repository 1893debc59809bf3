//! Typed answers.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::key::Key;
use super::origin::{Origin, Value};
use super::parse;
use super::problem::{Problem, shown};
use super::reference::{Content, SecretReference, SecretSource};
use super::resolve::Resolved;
use super::variables;
use crate::contract::{Environment, ServiceName};
use crate::link::redis::RedisEndpoint;
use crate::link::tls::ClientIdentity;
use crate::secret::Secret;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The deployment in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextChoice {
    /// Its name.
    pub name: Value<String>,
    /// Whether it was named for this call, not taken from the file.
    pub explicit: bool,
    /// Whether anything above a read asks for its name first.
    pub protected: bool,
}

/// Certificates to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// PEM.
    Pem(String),
    /// A file with PEM.
    File(PathBuf),
}

/// How a Redis is reached, before its secret is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Host.
    pub host: Value<String>,
    /// Port.
    pub port: Value<u16>,
    /// ACL user.
    pub username: Option<Value<String>>,
    /// Password.
    pub password: Option<Value<SecretReference>>,
    /// Whether to use TLS.
    pub tls: Value<bool>,
    /// Certificates to trust; the system's when absent.
    pub ca: Option<Value<Certificate>>,
    /// Database number.
    pub database: i64,
}

impl RedisSettings {
    /// Fetches the secret and returns the endpoint.
    pub fn endpoint(&self, secrets: &dyn SecretSource) -> Result<RedisEndpoint, Problem> {
        let password = self.password.as_ref();
        let ca_pem = match self.ca.as_ref().map(|ca| &ca.value) {
            Some(Certificate::Pem(pem)) => Some(pem.clone()),
            Some(Certificate::File(path)) => Some(secrets.text(path)?),
            None => None,
        };
        Ok(RedisEndpoint {
            host: self.host.value.clone(),
            port: self.port.value,
            username: self.username.as_ref().map(|name| name.value.clone()),
            password: password.map(|it| secrets.reveal(&it.value)).transpose()?,
            tls: self.tls.value,
            ca_pem,
            database: self.database,
        })
    }
}

/// Who is trusted to be the Tenant Manager, and what it is shown.
#[derive(Debug, Clone, Default)]
pub struct ServerTls {
    /// Certificates to trust; the system's when absent.
    pub ca_pem: Option<String>,
    /// Certificate of the client.
    pub identity: Option<ClientIdentity>,
}

impl ServerTls {
    /// Returns true unless everything is as when nothing was configured.
    pub fn says_something(&self) -> bool {
        self.ca_pem.is_some() || self.identity.is_some()
    }
}

const OUTPUTS: [&str; 8] = [
    "table", "json", "json=v1", "jsonl", "jsonl=v1", "yaml", "csv", "name",
];

impl Resolved {
    /// Returns the deployment in use, when there is one.
    pub fn context(&self) -> Option<ContextChoice> {
        let name = self.text(Key::Context)?;
        let protected = self.typed(Key::Protected, parse::boolean);
        Some(ContextChoice {
            name,
            explicit: self.explicit_context,
            // A flag that cannot be read protects.
            protected: !matches!(protected, Ok(Some(Value { value: false, .. }))),
        })
    }

    /// Returns the URL of the Tenant Manager. `http://` beyond this machine needs an opt-in.
    pub fn server(&self) -> Result<Option<Value<Url>>, Problem> {
        let Some(server) = self.typed(Key::Server, parse::server)? else {
            return Ok(None);
        };
        if server.value.scheme() == "http"
            && !parse::is_loopback(&server.value)
            && !self.boolean(Key::AllowInsecureHttp)?.value
        {
            return Err(Problem::new(
                "config.insecure_http",
                format!(
                    "{} ({}) would send the API key unencrypted",
                    server.value, server.origin
                ),
            )
            .hint(
                "use https://, or accept it with MULTI_TENANT_ALLOW_INSECURE_HTTP=true or `allow-insecure-http = true` in the context",
            ));
        }
        Ok(Some(server))
    }

    /// Reads the certificates for the Tenant Manager.
    pub fn server_tls(&self, secrets: &dyn SecretSource) -> Result<ServerTls, Problem> {
        let read = |key: Key| {
            let place = self.file(key);
            place.map(|file| secrets.text(&file.value)).transpose()
        };
        self.client_pair()?;
        let certificate = read(Key::ClientCertificateFile)?;
        let key = read(Key::ClientKeyFile)?;
        Ok(ServerTls {
            ca_pem: read(Key::CaFile)?,
            identity: certificate
                .zip(key)
                .map(|(certificate_pem, key)| ClientIdentity {
                    certificate_pem,
                    key_pem: Secret::new(key),
                }),
        })
    }

    /// Fails when there is a client certificate without its key, or a key without its certificate.
    fn client_pair(&self) -> Result<(), Problem> {
        let [certificate, key] = [Key::ClientCertificateFile, Key::ClientKeyFile];
        let (there, missing) = match (self.file(certificate), self.file(key)) {
            (Some(there), None) => (there, (certificate, key)),
            (None, Some(there)) => (there, (key, certificate)),
            _ => return Ok(()),
        };
        Err(Problem::new(
            "config.invalid_value",
            format!(
                "`{}` ({}) is of no use without `{}`",
                missing.0, there.origin, missing.1
            ),
        ))
    }

    fn file(&self, key: Key) -> Option<Value<PathBuf>> {
        let (origin, Content::File(path)) = self.picks[&key].candidates.first()? else {
            return None;
        };
        Some(Value {
            value: path.clone(),
            origin: origin.clone(),
            overridden: self.overridden(key),
        })
    }

    /// Returns where the API key is to be found.
    pub fn api_key(&self) -> Option<Value<SecretReference>> {
        self.secret(Key::ApiKey)
    }

    /// Returns whether plain http is accepted beyond this machine.
    pub fn allow_insecure_http(&self) -> Result<Value<bool>, Problem> {
        self.boolean(Key::AllowInsecureHttp)
    }

    /// Returns the environment.
    pub fn environment(&self) -> Result<Option<Value<Environment>>, Problem> {
        self.typed(Key::Environment, |text| {
            text.parse::<Environment>()
                .map_err(|error| format!("it must be {}", error.reason))
        })
    }

    /// Returns the output format: one of the words of `-o`.
    pub fn output(&self) -> Result<Value<String>, Problem> {
        self.always(Key::Output, |text| {
            if OUTPUTS.contains(&text) {
                Ok(text.to_owned())
            } else {
                Err("it must be table, json, jsonl, yaml, csv or name".to_owned())
            }
        })
    }

    /// Returns when to use colour.
    pub fn color(&self) -> Result<Value<ColorChoice>, Problem> {
        self.always(Key::Color, |text| match text {
            "auto" => Ok(ColorChoice::Auto),
            "always" => Ok(ColorChoice::Always),
            "never" => Ok(ColorChoice::Never),
            _ => Err("it must be auto, always or never".to_owned()),
        })
    }

    /// Returns the deadline of the whole command.
    pub fn timeout(&self) -> Result<Option<Value<Duration>>, Problem> {
        self.typed(Key::Timeout, parse::duration)
    }

    /// Returns the filter of the log.
    pub fn log(&self) -> Option<Value<String>> {
        self.text(Key::Log)
    }

    /// Returns whether the log is JSON.
    pub fn log_json(&self) -> Result<Value<bool>, Problem> {
        self.always(Key::LogFormat, |text| match text {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err("it must be text or json".to_owned()),
        })
    }

    /// Returns whether prompts are forbidden.
    pub fn no_input(&self) -> bool {
        // Whatever cannot be read as "no" forbids.
        self.boolean(Key::NoInput).map_or(true, |it| it.value)
    }

    /// Returns the Redis with the products' caches; the event Redis when it has no host of its own.
    pub fn redis(&self) -> Result<Option<RedisSettings>, Problem> {
        if self.text(Key::RedisHost).is_some() {
            return self.redis_of(&DATA);
        }
        self.redis_of(&EVENTS)
    }

    /// Returns the Redis with the tenant events and the shared tenant cache; the one with the
    /// products' caches when it has no host of its own.
    pub fn event_redis(&self) -> Result<Option<RedisSettings>, Problem> {
        if self.text(Key::EventRedisHost).is_some() {
            return self.redis_of(&EVENTS);
        }
        self.redis_of(&DATA)
    }

    /// Returns whether products run multi-tenant.
    pub fn multi_tenant_enabled(&self) -> Result<Value<bool>, Problem> {
        self.boolean(Key::MultiTenantEnabled)
    }

    /// Returns whether products check tokens with the Access Manager.
    pub fn auth_enabled(&self) -> Result<Value<bool>, Problem> {
        self.boolean(Key::AuthEnabled)
    }

    /// Returns the address of the Access Manager as it was written.
    pub fn auth_address(&self) -> Option<Value<String>> {
        self.text(Key::AuthAddress)
    }

    /// Returns the service that this process is, when it runs beside a product.
    pub fn application_name(&self) -> Result<Option<Value<ServiceName>>, Problem> {
        self.typed(Key::ApplicationName, |text| {
            text.parse::<ServiceName>()
                .map_err(|error| error.reason.to_owned())
        })
    }

    /// Returns the deadline of one request to the Tenant Manager.
    pub fn client_timeout(&self) -> Result<Value<Duration>, Problem> {
        self.seconds(Key::ClientTimeout, 1, 3600)
    }

    /// Returns how long a tenant's connections are cached; zero disables.
    pub fn cache_ttl(&self) -> Result<Value<Duration>, Problem> {
        self.seconds(Key::CacheTtl, 0, 30 * 86400)
    }

    /// Returns the age at which cached connections are checked again; zero disables.
    pub fn check_interval(&self) -> Result<Value<Duration>, Problem> {
        self.seconds(Key::CheckInterval, 0, 86400)
    }

    /// Returns how many failures in a row open the breaker; zero disables.
    pub fn breaker_threshold(&self) -> Result<Value<u32>, Problem> {
        self.always(Key::BreakerThreshold, |text| {
            parse::whole(text, 0, 1_000_000).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
        })
    }

    /// Returns how long the breaker stays open.
    pub fn breaker_timeout(&self) -> Result<Value<Duration>, Problem> {
        self.seconds(Key::BreakerTimeout, 1, 86400)
    }

    /// Returns how many tenants are kept in memory at once; zero is unlimited.
    pub fn max_tenant_pools(&self) -> Result<Value<usize>, Problem> {
        self.always(Key::MaxTenantPools, |text| {
            parse::whole(text, 0, 1_000_000).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
        })
    }

    /// Returns how long an unused tenant stays in memory.
    pub fn idle_timeout(&self) -> Result<Value<Duration>, Problem> {
        self.seconds(Key::IdleTimeout, 1, 30 * 86400)
    }

    fn redis_of(&self, keys: &RedisKeys) -> Result<Option<RedisSettings>, Problem> {
        let host = self.redis_host(keys.host)?;
        let Some(host) = host else {
            return Ok(None);
        };
        let port =
            |text: &str| parse::whole(text, 1, 65535).map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        let database = match keys.database {
            Some(key) => {
                let number = |text: &str| parse::whole(text, 0, 65535);
                i64::try_from(self.always(key, number)?.value).unwrap_or(i64::MAX)
            }
            None => 0,
        };
        Ok(Some(RedisSettings {
            host,
            port: self.always(keys.port, port)?,
            username: self.text(keys.username),
            password: self.secret(keys.password),
            tls: self.boolean(keys.tls)?,
            ca: self.certificate(keys.ca)?,
            database,
        }))
    }

    fn redis_host(&self, key: Key) -> Result<Option<Value<String>>, Problem> {
        self.typed(key, |text| {
            let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?');
            if text.is_empty() || text.contains(odd) {
                return Err("it must be a host name or an address, not a URL".to_owned());
            }
            // More than one colon is an IPv6 address.
            if text.matches(':').count() == 1 {
                return Err("it must not hold a port: the port has its own setting".to_owned());
            }
            Ok(text.trim_matches(['[', ']']).to_owned())
        })
    }

    fn certificate(&self, key: Key) -> Result<Option<Value<Certificate>>, Problem> {
        let Some((origin, content)) = self.picks[&key].candidates.first() else {
            return Ok(None);
        };
        if let Content::File(path) = content {
            let certificate = Certificate::File(path.clone());
            return Ok(Some(Value::new(certificate, origin.clone())));
        }
        self.typed(key, |text| {
            STANDARD
                .decode(text.split_ascii_whitespace().collect::<String>())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----"))
                .map(Certificate::Pem)
                .ok_or_else(|| "it must be a PEM certificate in base64".to_owned())
        })
    }

    pub(super) fn text(&self, key: Key) -> Option<Value<String>> {
        self.typed(key, |text| Ok(text.to_owned())).ok().flatten()
    }

    fn secret(&self, key: Key) -> Option<Value<SecretReference>> {
        let (origin, Content::Secret(reference)) = self.picks[&key].candidates.first()? else {
            return None;
        };
        Some(Value {
            value: reference.clone(),
            origin: origin.clone(),
            overridden: self.overridden(key),
        })
    }

    fn overridden(&self, key: Key) -> Vec<super::Overridden> {
        let lost = self.picks[&key].candidates.iter().skip(1);
        lost.map(|(origin, content)| super::Overridden {
            origin: origin.clone(),
            value: content.shown(),
        })
        .collect()
    }

    pub(super) fn boolean(&self, key: Key) -> Result<Value<bool>, Problem> {
        self.always(key, parse::boolean)
    }

    fn seconds(&self, key: Key, min: u64, max: u64) -> Result<Value<Duration>, Problem> {
        self.always(key, |text| {
            parse::whole(text, min, max).map(Duration::from_secs)
        })
    }

    fn always<T>(
        &self,
        key: Key,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Value<T>, Problem> {
        Ok(self
            .typed(key, read)?
            .expect("a test gives each of these settings a default"))
    }

    fn typed<T>(
        &self,
        key: Key,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<Value<T>>, Problem> {
        let Some((origin, Content::Text(text))) = self.picks[&key].candidates.first() else {
            return Ok(None);
        };
        match read(text) {
            Ok(value) => Ok(Some(Value {
                value,
                origin: origin.clone(),
                overridden: self.overridden(key),
            })),
            Err(rule) => Err(malformed(key, origin, text, &rule)),
        }
    }
}

fn malformed(key: Key, origin: &Origin, text: &str, rule: &str) -> Problem {
    let variable = match origin {
        Origin::Variable { name } => Some(name),
        Origin::EnvFile { variable, .. } => Some(variable),
        _ => None,
    };
    let long = matches!(key, Key::RedisCaCert | Key::EventRedisCaCert);
    let value = if long {
        "the value".to_owned()
    } else {
        format!("`{}`", shown(&Content::Text(text.to_owned()).shown()))
    };
    let problem = Problem::new(
        "config.invalid_value",
        format!("{value} is not valid for `{key}` ({origin}): {rule}"),
    );
    match variable.and_then(|name| variables::find(name)?.malformed) {
        Some(reading) => problem.hint(reading),
        None => problem,
    }
}

struct RedisKeys {
    host: Key,
    port: Key,
    username: Key,
    password: Key,
    tls: Key,
    ca: Key,
    database: Option<Key>,
}

const DATA: RedisKeys = RedisKeys {
    host: Key::RedisHost,
    port: Key::RedisPort,
    username: Key::RedisUsername,
    password: Key::RedisPassword,
    tls: Key::RedisTls,
    ca: Key::RedisCaCert,
    database: Some(Key::RedisDatabase),
};

const EVENTS: RedisKeys = RedisKeys {
    host: Key::EventRedisHost,
    port: Key::EventRedisPort,
    username: Key::EventRedisUsername,
    password: Key::EventRedisPassword,
    tls: Key::EventRedisTls,
    ca: Key::EventRedisCaCert,
    // Pub/sub knows no databases, and products open 0.
    database: None,
};

impl Resolved {
    /// Reads one setting as its type, for the sake of its problem.
    pub(super) fn check(&self, key: Key) -> Result<(), Problem> {
        let redis = |keys: &RedisKeys| match key {
            key if key == keys.host => self.redis_host(key).map(drop),
            key if key == keys.port => self
                .always(key, |text| parse::whole(text, 1, 65535))
                .map(drop),
            key if key == keys.tls => self.boolean(key).map(drop),
            key if key == keys.ca => self.certificate(key).map(drop),
            key if Some(key) == keys.database => self
                .always(key, |text| parse::whole(text, 0, 65535))
                .map(drop),
            _ => Ok(()),
        };
        match key {
            Key::Server => self.server().map(drop),
            Key::AllowInsecureHttp
            | Key::Protected
            | Key::NoInput
            | Key::MultiTenantEnabled
            | Key::AuthEnabled => self.boolean(key).map(drop),
            Key::Environment => self.environment().map(drop),
            Key::Output => self.output().map(drop),
            Key::Color => self.color().map(drop),
            Key::Timeout => self.timeout().map(drop),
            Key::LogFormat => self.log_json().map(drop),
            Key::ApplicationName => self.application_name().map(drop),
            Key::ClientTimeout => self.client_timeout().map(drop),
            Key::CacheTtl => self.cache_ttl().map(drop),
            Key::CheckInterval => self.check_interval().map(drop),
            Key::BreakerThreshold => self.breaker_threshold().map(drop),
            Key::BreakerTimeout => self.breaker_timeout().map(drop),
            Key::MaxTenantPools => self.max_tenant_pools().map(drop),
            Key::IdleTimeout => self.idle_timeout().map(drop),
            Key::RedisHost
            | Key::RedisPort
            | Key::RedisUsername
            | Key::RedisPassword
            | Key::RedisTls
            | Key::RedisCaCert
            | Key::RedisDatabase => redis(&DATA),
            Key::EventRedisHost
            | Key::EventRedisPort
            | Key::EventRedisUsername
            | Key::EventRedisPassword
            | Key::EventRedisTls
            | Key::EventRedisCaCert => redis(&EVENTS),
            Key::ClientCertificateFile => self.client_pair(),
            Key::ConfigFile
            | Key::Context
            | Key::ApiKey
            | Key::CaFile
            | Key::ClientKeyFile
            | Key::Log
            | Key::AuthAddress => Ok(()),
        }
    }
}
