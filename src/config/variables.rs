//! Every variable that lerianctl reads, declared once: `help environment` and the README table
//! are generated from here.

use super::key::Key;
use super::reference::{Content, SecretReference};
use crate::secret::Secret;

/// Who a variable belongs to; decides its place in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// lerianctl, or a convention of command-line tools: right below flags.
    Tool,
    /// Lerian's products: below a context that is named explicitly.
    Product,
}

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As it is.
    AsIs,
    /// The path of a file with a secret.
    SecretFile,
    /// The path of a file.
    File,
    /// Anything but nothing means `never` (no-color.org).
    NoColor,
    /// Anything but nothing and `0` means `always`.
    ForceColor,
    /// `dumb` means `never`; anything else says nothing.
    Terminal,
    /// Anything but nothing, `0` and `false` means `true`.
    Presence,
}

/// A variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Who it belongs to.
    pub owner: Owner,
    /// The setting it gives a value to.
    pub sets: Key,
    /// How its text becomes a value.
    pub reading: Reading,
    /// One sentence for a person.
    pub doc: &'static str,
    /// What a product does with a value that it cannot read.
    pub malformed: Option<&'static str>,
    /// First version of lerianctl that reads it.
    pub since: &'static str,
}

impl Variable {
    /// Returns the text of the default.
    pub fn default(&self) -> Option<&'static str> {
        self.sets.setting().default
    }

    /// Returns true when its value is a secret.
    pub fn is_secret(&self) -> bool {
        self.sets.setting().secret && self.reading != Reading::SecretFile
    }

    /// Returns what `text` says; `None` when it says nothing. An empty variable is not set: charts
    /// write empty values for everything that was left out.
    pub(super) fn read(&self, text: &str) -> Option<Content> {
        if text.trim().is_empty() {
            return None;
        }
        let word = |word: &str| Some(Content::Text(word.to_owned()));
        match self.reading {
            Reading::AsIs if self.sets.setting().secret => {
                Some(Content::Secret(SecretReference::Inline(Secret::new(text))))
            }
            Reading::AsIs => word(text.trim()),
            Reading::SecretFile => Some(Content::Secret(SecretReference::File(text.into()))),
            Reading::File => Some(Content::File(text.trim().into())),
            Reading::NoColor => word("never"),
            Reading::ForceColor if text == "0" => None,
            Reading::ForceColor => word("always"),
            Reading::Terminal if text == "dumb" => word("never"),
            Reading::Terminal => None,
            Reading::Presence if matches!(text, "0" | "false" | "FALSE" | "False") => None,
            Reading::Presence => word("true"),
        }
    }
}

const fn tool(name: &'static str, sets: Key, doc: &'static str) -> Variable {
    Variable {
        name,
        owner: Owner::Tool,
        sets,
        reading: Reading::AsIs,
        doc,
        malformed: None,
        since: "0.1.0",
    }
}

const fn product(name: &'static str, sets: Key, doc: &'static str) -> Variable {
    Variable {
        owner: Owner::Product,
        ..tool(name, sets, doc)
    }
}

const AS_ZERO: &str = "a product reads it as 0 and only writes a warning";
const AS_FALSE: &str = "a product reads it as false and only writes a warning";

impl Variable {
    const fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    const fn malformed(self, text: &'static str) -> Self {
        Self {
            malformed: Some(text),
            ..self
        }
    }
}

/// Every variable. Where several set the same setting, the first one wins.
pub const VARIABLES: &[Variable] = &[
    tool("LERIANCTL_CONFIG", Key::ConfigFile, "Config file."),
    tool(
        "LERIANCTL_CONTEXT",
        Key::Context,
        "Deployment from the config file; outranks the products' variables.",
    ),
    tool("LERIANCTL_SERVER", Key::Server, "URL of the Tenant Manager."),
    tool(
        "LERIANCTL_API_KEY_FILE",
        Key::ApiKey,
        "File with the API key of the Tenant Manager.",
    )
    .reading(Reading::SecretFile),
    tool(
        "LERIANCTL_API_KEY",
        Key::ApiKey,
        "API key of the Tenant Manager.",
    ),
    tool(
        "LERIANCTL_CA_FILE",
        Key::CaFile,
        "File with the certificates to trust for the Tenant Manager, instead of the system's: PEM.",
    )
    .reading(Reading::File),
    tool(
        "LERIANCTL_CLIENT_CERTIFICATE_FILE",
        Key::ClientCertificateFile,
        "File with the certificate that the Tenant Manager is shown, and what issued it: PEM.",
    )
    .reading(Reading::File),
    tool(
        "LERIANCTL_CLIENT_KEY_FILE",
        Key::ClientKeyFile,
        "File with the private key of that certificate: PEM.",
    )
    .reading(Reading::File),
    tool(
        "LERIANCTL_OUTPUT",
        Key::Output,
        "Output format: table, json, jsonl, yaml, csv or name.",
    ),
    tool(
        "NO_COLOR",
        Key::Color,
        "Not empty: no colour. `--color` wins.",
    )
    .reading(Reading::NoColor),
    tool(
        "CLICOLOR_FORCE",
        Key::Color,
        "Not empty and not 0: colour even without a terminal. `NO_COLOR` wins.",
    )
    .reading(Reading::ForceColor),
    tool("TERM", Key::Color, "`dumb`: no colour.").reading(Reading::Terminal),
    tool(
        "LERIANCTL_LOG",
        Key::Log,
        "Filter of the log on stderr, such as `info` or `lerianctl=debug`.",
    ),
    tool(
        "LERIANCTL_NO_INPUT",
        Key::NoInput,
        "Not empty, 0 or false: never prompt.",
    )
    .reading(Reading::Presence),
    tool(
        "CI",
        Key::NoInput,
        "Not empty, 0 or false: never prompt.",
    )
    .reading(Reading::Presence),
    tool(
        "LERIANCTL_TIMEOUT",
        Key::Timeout,
        "Deadline of the whole command, such as `90s` or `5m`.",
    ),
    tool(
        "LERIANCTL_REDIS_HOST",
        Key::RedisHost,
        "Host of the Redis with the products' caches; the event Redis when not set.",
    ),
    tool("LERIANCTL_REDIS_PORT", Key::RedisPort, "Port of the Redis with the products' caches."),
    tool(
        "LERIANCTL_REDIS_USERNAME",
        Key::RedisUsername,
        "ACL user of the Redis with the products' caches; the default user when not set.",
    ),
    tool("LERIANCTL_REDIS_PASSWORD", Key::RedisPassword, "Password of the Redis with the products' caches."),
    tool("LERIANCTL_REDIS_TLS", Key::RedisTls, "Whether the Redis with the products' caches speaks TLS."),
    tool(
        "LERIANCTL_REDIS_CA_CERT",
        Key::RedisCaCert,
        "Certificates to trust for the Redis with the products' caches: PEM in base64.",
    ),
    tool(
        "LERIANCTL_REDIS_DATABASE",
        Key::RedisDatabase,
        "Database number in the Redis with the products' caches.",
    ),
    product(
        "MULTI_TENANT_ENABLED",
        Key::MultiTenantEnabled,
        "Whether products run multi-tenant; then `PLUGIN_AUTH_ENABLED` must be true.",
    )
    .malformed(AS_FALSE),
    product(
        "MULTI_TENANT_URL",
        Key::Server,
        "URL of the Tenant Manager; required in multi-tenant mode.",
    )
    .malformed("a product refuses to start"),
    product(
        "MULTI_TENANT_SERVICE_API_KEY",
        Key::ApiKey,
        "API key of the Tenant Manager; required in multi-tenant mode.",
    ),
    product(
        "MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC",
        Key::CheckInterval,
        "Seconds after which a tenant's connections are checked again with the Tenant Manager.",
    )
    .malformed(AS_ZERO),
    product(
        "MULTI_TENANT_CACHE_TTL_SEC",
        Key::CacheTtl,
        "Seconds that a tenant's connections are cached; 0 disables.",
    )
    .malformed(
        "a product reads it as 0 and only writes a warning; for the Ledger and CRM that means a cache that never expires",
    ),
    product(
        "MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD",
        Key::BreakerThreshold,
        "Failures in a row after which the Tenant Manager is left alone; 0 disables.",
    )
    .malformed(
        "a product reads it as 0 and only writes a warning; for the CRM that turns the breaker off",
    ),
    product(
        "MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC",
        Key::BreakerTimeout,
        "Seconds until the Tenant Manager is tried again.",
    )
    .malformed(AS_ZERO),
    product(
        "MULTI_TENANT_REDIS_HOST",
        Key::EventRedisHost,
        "Host of the Redis with the tenant events and the shared tenant cache.",
    ),
    product(
        "MULTI_TENANT_REDIS_PORT",
        Key::EventRedisPort,
        "Port of the Redis with the tenant events and the shared tenant cache.",
    ),
    product(
        "MULTI_TENANT_REDIS_PASSWORD",
        Key::EventRedisPassword,
        "Password of the Redis with the tenant events and the shared tenant cache.",
    ),
    product(
        "MULTI_TENANT_REDIS_TLS",
        Key::EventRedisTls,
        "Whether the Redis with the tenant events and the shared tenant cache speaks TLS. Set it: the Tracer takes true when it is not set, the others false.",
    )
    .malformed(AS_FALSE),
    product(
        "MULTI_TENANT_REDIS_CA_CERT",
        Key::EventRedisCaCert,
        "Certificates to trust for the Redis with the tenant events and the shared tenant cache: PEM in base64. The Fetcher refuses to start when it is set.",
    ),
    product(
        "MULTI_TENANT_TIMEOUT",
        Key::ClientTimeout,
        "Deadline of one request to the Tenant Manager, in seconds.",
    )
    .malformed(AS_ZERO),
    product(
        "MULTI_TENANT_MAX_TENANT_POOLS",
        Key::MaxTenantPools,
        "Tenants that a process keeps open at once; 0 is unlimited.",
    )
    .malformed("a product reads it as 0 and only writes a warning; for the CRM and Reporter that is unlimited"),
    product(
        "MULTI_TENANT_IDLE_TIMEOUT_SEC",
        Key::IdleTimeout,
        "Seconds without use after which a tenant may be closed.",
    )
    .malformed(AS_ZERO),
    product(
        "MULTI_TENANT_ALLOW_INSECURE_HTTP",
        Key::AllowInsecureHttp,
        "Accept an http:// Tenant Manager that is not on this machine.",
    )
    .malformed(AS_FALSE),
    product(
        "PLUGIN_AUTH_ENABLED",
        Key::AuthEnabled,
        "Whether products check tokens with the Access Manager.",
    )
    .malformed(AS_FALSE),
    product(
        "PLUGIN_AUTH_HOST",
        Key::AuthAddress,
        "Address of the Access Manager, as the Ledger names it.",
    ),
    product(
        "PLUGIN_AUTH_ADDRESS",
        Key::AuthAddress,
        "Address of the Access Manager, as the other products name it.",
    ),
    product(
        "ENVIRONMENT_NAME",
        Key::Environment,
        "Environment of the event channel; wins over `ENV_NAME`.",
    ),
    product(
        "ENV_NAME",
        Key::Environment,
        "Environment: products listen to events in `production` and `staging` only.",
    ),
    product(
        "APPLICATION_NAME",
        Key::ApplicationName,
        "Name of the service in the Tenant Manager, such as `ledger`.",
    ),
];

/// A variable of `lerianctl server …`, which is configured by flags and variables alone.
#[derive(Debug, Clone, Copy)]
pub struct ServerVariable {
    /// Its name.
    pub name: &'static str,
    /// What it means, for a person.
    pub doc: &'static str,
}

const fn server(name: &'static str, doc: &'static str) -> ServerVariable {
    ServerVariable { name, doc }
}

/// Variable with the master key of the registry.
pub const SERVER_MASTER_KEY: &str = "LERIANCTL_SERVER_MASTER_KEY";
/// Variable with the master key before this one, while it is being changed.
pub const SERVER_PREVIOUS_MASTER_KEY: &str = "LERIANCTL_SERVER_PREVIOUS_MASTER_KEY";
/// Variable with the URL of the PostgreSQL cluster that tenants are placed on.
pub const SERVER_POSTGRES_URL: &str = "LERIANCTL_SERVER_POSTGRES_URL";
/// Variable with the URL of a registry on PostgreSQL.
pub const SERVER_REGISTRY_URL: &str = "LERIANCTL_SERVER_REGISTRY_URL";
/// Variable with an API key to accept.
pub const SERVER_SERVICE_KEY: &str = "LERIANCTL_SERVER_SERVICE_KEY";
/// Variable with the Access Manager's key set.
pub const SERVER_AUTH_JWKS: &str = "LERIANCTL_SERVER_AUTH_JWKS";
/// Variable with the issuer of tokens.
pub const SERVER_AUTH_ISSUER: &str = "LERIANCTL_SERVER_AUTH_ISSUER";
/// Variable with the audience of tokens.
pub const SERVER_AUTH_AUDIENCE: &str = "LERIANCTL_SERVER_AUTH_AUDIENCE";
/// Variable with the Access Manager that decides.
pub const SERVER_AUTH_ADDRESS: &str = "LERIANCTL_SERVER_AUTH_ADDRESS";

/// Variable with the time between two checks of isolation.
pub const SERVER_ISOLATION_EVERY: &str = "LERIANCTL_SERVER_ISOLATION_EVERY";
/// Variable with the login that checks isolation.
pub const SERVER_ISOLATION_POSTGRES_URL: &str = "LERIANCTL_SERVER_ISOLATION_POSTGRES_URL";
/// Variable with the database of a product that these checks probe.
pub const SERVER_ISOLATION_PRODUCT_DATABASE_URL: &str =
    "LERIANCTL_SERVER_ISOLATION_PRODUCT_DATABASE_URL";

/// Every variable of `lerianctl server …`.
pub const SERVER_VARIABLES: &[ServerVariable] = &[
    server(
        SERVER_SERVICE_KEY,
        "API key that `server start` accepts, besides those of --service-key-file",
    ),
    server(
        SERVER_MASTER_KEY,
        "Master key that wraps the registry's keys; --master-key-file and --master-key-command win",
    ),
    server(
        SERVER_PREVIOUS_MASTER_KEY,
        "Master key before this one, while it is being changed; --previous-master-key-file wins",
    ),
    server(
        SERVER_POSTGRES_URL,
        "postgres:// URL of the cluster that tenants are placed on; --postgres-url-file wins",
    ),
    server(
        SERVER_REGISTRY_URL,
        "postgres:// URL of the registry; --registry and --registry-url-file win",
    ),
    server(
        SERVER_AUTH_JWKS,
        "Key set of the Access Manager, URL or file, for tokens of operators; --auth-jwks wins",
    ),
    server(
        SERVER_AUTH_ISSUER,
        "Issuer that tokens of operators must have; --auth-issuer wins",
    ),
    server(
        SERVER_AUTH_AUDIENCE,
        "Audience that tokens of operators must have; --auth-audience wins",
    ),
    server(
        SERVER_AUTH_ADDRESS,
        "Access Manager that is asked what the bearer of a token may do; --auth-address wins",
    ),
    server(
        SERVER_ISOLATION_EVERY,
        "Time between two checks of isolation by the server itself; --isolation-every wins",
    ),
    server(
        SERVER_ISOLATION_POSTGRES_URL,
        "postgres:// URL of the login for these checks; --isolation-postgres-url-file wins",
    ),
    server(
        SERVER_ISOLATION_PRODUCT_DATABASE_URL,
        "postgres:// URL of the probed product's own database; --isolation-product-database-url-file wins",
    ),
];

/// Variables that programs set for lerianctl, never people.
pub(super) const INTERNAL: &[&str] = &["LERIANCTL_COMPLETE"];

/// Returns true for a variable of the products that this program reads too.
pub fn is_product_variable(name: &str) -> bool {
    find(name).is_some_and(|variable| variable.owner == Owner::Product)
}

/// Returns the declaration of a variable.
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::SETTINGS;

    #[test]
    fn every_variable_is_declared_once_and_every_key_has_a_row() {
        let names: BTreeSet<_> = VARIABLES.iter().map(|v| v.name).collect();
        assert_eq!(names.len(), VARIABLES.len());
        for variable in VARIABLES {
            assert_eq!(variable.sets.setting().key, variable.sets);
            assert!(variable.doc.ends_with('.'), "{}", variable.name);
        }
        let rows: BTreeSet<_> = SETTINGS.iter().map(|s| s.key).collect();
        assert_eq!(rows.len(), SETTINGS.len());
        let names: BTreeSet<_> = SETTINGS.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), SETTINGS.len());
    }

    #[test]
    fn documented_defaults_are_those_of_the_multi_tenancy_page() {
        for (name, default) in [
            ("MULTI_TENANT_CACHE_TTL_SEC", Some("120")),
            ("MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD", Some("5")),
            ("MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC", Some("30")),
            ("MULTI_TENANT_REDIS_PORT", Some("6379")),
            ("MULTI_TENANT_REDIS_TLS", Some("false")),
            ("MULTI_TENANT_TIMEOUT", Some("30")),
            ("MULTI_TENANT_MAX_TENANT_POOLS", Some("100")),
            ("MULTI_TENANT_IDLE_TIMEOUT_SEC", Some("300")),
            ("MULTI_TENANT_ENABLED", Some("false")),
            ("MULTI_TENANT_URL", None),
        ] {
            assert_eq!(find(name).unwrap().default(), default, "{name}");
        }
    }
}
