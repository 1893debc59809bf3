//! The settings: one row each.

use std::fmt;

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table of settings describes each")]
pub enum Key {
    ConfigFile,
    Context,
    Server,
    ApiKey,
    CaFile,
    ClientCertificateFile,
    ClientKeyFile,
    AllowInsecureHttp,
    Protected,
    Environment,
    Output,
    Color,
    Timeout,
    Log,
    LogFormat,
    NoInput,
    RedisHost,
    RedisPort,
    RedisUsername,
    RedisPassword,
    RedisTls,
    RedisCaCert,
    RedisDatabase,
    EventRedisHost,
    EventRedisPort,
    EventRedisUsername,
    EventRedisPassword,
    EventRedisTls,
    EventRedisCaCert,
    MultiTenantEnabled,
    ApplicationName,
    AuthEnabled,
    AuthAddress,
    ClientTimeout,
    CacheTtl,
    CheckInterval,
    BreakerThreshold,
    BreakerTimeout,
    MaxTenantPools,
    IdleTimeout,
}

/// What is known of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The setting.
    pub key: Key,
    /// Name in `config explain NAME`.
    pub name: &'static str,
    /// Path below `[context.NAME]`, when a context can hold it.
    pub context: Option<&'static [&'static str]>,
    /// Text of the built-in default; none when the setting is then absent.
    pub default: Option<&'static str>,
    /// Whether its value is a secret.
    pub secret: bool,
    /// One line for a person.
    pub doc: &'static str,
}

const fn row(key: Key, name: &'static str, doc: &'static str) -> Setting {
    Setting {
        key,
        name,
        context: None,
        default: None,
        secret: false,
        doc,
    }
}

impl Setting {
    const fn default(self, text: &'static str) -> Self {
        Self {
            default: Some(text),
            ..self
        }
    }

    const fn context(self, path: &'static [&'static str]) -> Self {
        Self {
            context: Some(path),
            ..self
        }
    }

    const fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }
}

/// Every setting, in the order in which `config explain` shows them.
pub const SETTINGS: &[Setting] = &[
    row(Key::ConfigFile, "config", "Config file"),
    row(Key::Context, "context", "Deployment from the config file"),
    row(Key::Server, "server", "URL of the Tenant Manager").context(&["server"]),
    row(Key::ApiKey, "api-key", "API key of the Tenant Manager")
        .context(&["api-key"])
        .secret(),
    row(
        Key::CaFile,
        "ca-file",
        "Certificates to trust for the Tenant Manager, instead of the system's",
    )
    .context(&["ca-file"]),
    row(
        Key::ClientCertificateFile,
        "client-certificate-file",
        "Certificate that the Tenant Manager is shown",
    )
    .context(&["client-certificate-file"]),
    row(
        Key::ClientKeyFile,
        "client-key-file",
        "Private key of that certificate",
    )
    .context(&["client-key-file"]),
    row(
        Key::AllowInsecureHttp,
        "allow-insecure-http",
        "Accept an http:// server that is not on this machine",
    )
    .context(&["allow-insecure-http"])
    .default("false"),
    row(
        Key::Protected,
        "protected",
        "Ask for the context's name before anything above a read",
    )
    .context(&["protected"])
    .default("false"),
    row(
        Key::Environment,
        "environment",
        "Environment of new tenants and of the event channel",
    )
    .context(&["environment"]),
    row(Key::Output, "output", "Output format").default("table"),
    row(Key::Color, "color", "When to use colour").default("auto"),
    row(Key::Timeout, "timeout", "Deadline of the whole command"),
    row(Key::Log, "log", "Filter of the log on stderr"),
    row(Key::LogFormat, "log-format", "Form of the log on stderr").default("text"),
    row(Key::NoInput, "no-input", "Never prompt").default("false"),
    row(
        Key::RedisHost,
        "redis.host",
        "Redis with the products' caches; the event Redis when not set",
    )
    .context(&["redis", "host"]),
    row(
        Key::RedisPort,
        "redis.port",
        "Port of the Redis with the products' caches",
    )
    .context(&["redis", "port"])
    .default("6379"),
    row(
        Key::RedisUsername,
        "redis.username",
        "ACL user of the Redis with the products' caches; the default user when not set",
    )
    .context(&["redis", "username"]),
    row(
        Key::RedisPassword,
        "redis.password",
        "Password of the Redis with the products' caches",
    )
    .context(&["redis", "password"])
    .secret(),
    row(
        Key::RedisTls,
        "redis.tls",
        "Whether the Redis with the products' caches speaks TLS",
    )
    .context(&["redis", "tls"])
    .default("false"),
    row(
        Key::RedisCaCert,
        "redis.ca-cert",
        "Certificates to trust for the Redis with the products' caches",
    )
    .context(&["redis", "ca-file"]),
    row(
        Key::RedisDatabase,
        "redis.database",
        "Database number in the Redis with the products' caches",
    )
    .context(&["redis", "database"])
    .default("0"),
    row(
        Key::EventRedisHost,
        "event-redis.host",
        "Redis with the tenant events and the shared tenant cache; the other Redis when not set",
    )
    .context(&["event-redis", "host"]),
    row(
        Key::EventRedisPort,
        "event-redis.port",
        "Port of the Redis with the tenant events",
    )
    .context(&["event-redis", "port"])
    .default("6379"),
    row(
        Key::EventRedisUsername,
        "event-redis.username",
        "ACL user of the Redis with the tenant events; the default user when not set",
    )
    .context(&["event-redis", "username"]),
    row(
        Key::EventRedisPassword,
        "event-redis.password",
        "Password of the Redis with the tenant events",
    )
    .context(&["event-redis", "password"])
    .secret(),
    row(
        Key::EventRedisTls,
        "event-redis.tls",
        "Whether the Redis with the tenant events speaks TLS",
    )
    .context(&["event-redis", "tls"])
    .default("false"),
    row(
        Key::EventRedisCaCert,
        "event-redis.ca-cert",
        "Certificates to trust for the Redis with the tenant events",
    )
    .context(&["event-redis", "ca-file"]),
    row(
        Key::MultiTenantEnabled,
        "multi-tenant.enabled",
        "Whether the products of this environment run multi-tenant",
    )
    .default("false"),
    row(
        Key::ApplicationName,
        "application-name",
        "Service to ask the Tenant Manager for",
    ),
    row(
        Key::AuthEnabled,
        "auth.enabled",
        "Whether products check tokens with the Access Manager",
    )
    .default("false"),
    row(
        Key::AuthAddress,
        "auth.address",
        "Address of the Access Manager",
    )
    .context(&["auth", "address"]),
    row(
        Key::ClientTimeout,
        "client.timeout",
        "Deadline of one request to the Tenant Manager, in seconds",
    )
    .default("30"),
    row(
        Key::CacheTtl,
        "cache.ttl",
        "Seconds that a tenant's connections are cached; 0 disables",
    )
    .default("120"),
    row(
        Key::CheckInterval,
        "cache.check-interval",
        "Seconds after which cached connections are checked again in the background; 0 disables",
    )
    .default("30"),
    row(
        Key::BreakerThreshold,
        "breaker.threshold",
        "Failures in a row that open the circuit breaker; 0 disables",
    )
    .default("5"),
    row(
        Key::BreakerTimeout,
        "breaker.timeout",
        "Seconds that the circuit breaker stays open",
    )
    .default("30"),
    row(
        Key::MaxTenantPools,
        "cache.max-tenants",
        "Tenants that are kept in memory at once; 0 is unlimited",
    )
    .default("100"),
    row(
        Key::IdleTimeout,
        "cache.idle-timeout",
        "Seconds without use after which a tenant may leave memory",
    )
    .default("300"),
];

impl Key {
    /// Returns the row of the setting.
    pub fn setting(self) -> &'static Setting {
        SETTINGS
            .iter()
            .find(|setting| setting.key == self)
            .expect("a test pairs every key with a row")
    }

    /// Returns the name in `config explain NAME`.
    pub fn name(self) -> &'static str {
        self.setting().name
    }

    /// Returns the setting of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .map(|setting| setting.key)
    }

    /// Returns the flag, with its dashes.
    pub(super) fn flag(self) -> String {
        match self {
            Self::ApiKey => "--api-key-file".to_owned(),
            _ => format!("--{}", self.name().replace('.', "-")),
        }
    }

    /// Returns true for settings whose text is the path of a file.
    pub(super) fn is_file(self) -> bool {
        matches!(
            self,
            Self::CaFile | Self::ClientCertificateFile | Self::ClientKeyFile
        )
    }

    /// Returns true for settings that are needed before any file is read: how to print, where the
    /// config file is. A file of variables cannot give them.
    pub(super) fn precedes_files(self) -> bool {
        matches!(
            self,
            Self::ConfigFile
                | Self::Output
                | Self::Color
                | Self::Timeout
                | Self::Log
                | Self::LogFormat
                | Self::NoInput
        )
    }

    /// Returns the setting whose origin decides whether a context's value of this one may be
    /// used: a context's password must not go to a host that comes from somewhere else.
    pub(super) fn anchor(self) -> Option<Self> {
        match self {
            Self::ApiKey
            | Self::CaFile
            | Self::ClientCertificateFile
            | Self::ClientKeyFile
            | Self::AuthAddress => Some(Self::Server),
            Self::RedisPort
            | Self::RedisUsername
            | Self::RedisPassword
            | Self::RedisTls
            | Self::RedisCaCert
            | Self::RedisDatabase => Some(Self::RedisHost),
            Self::EventRedisPort
            | Self::EventRedisUsername
            | Self::EventRedisPassword
            | Self::EventRedisTls
            | Self::EventRedisCaCert => Some(Self::EventRedisHost),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
