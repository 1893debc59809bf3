//! The catalogue of variables, read from `catalogue.toml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::product::Product;

/// How the text of a variable is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The words of Go's `ParseBool`; anything else is false.
    Bool,
    /// true, 1, yes or on in any case; anything else is false.
    Truthy,
    /// A whole number; anything else is 0.
    Number,
    /// A port, kept as text.
    Port,
    /// A host name, without a port.
    Host,
    /// A URL.
    Url,
    /// Anything.
    Text,
    /// Anything, never to be shown.
    Secret,
}

/// Whether a product needs a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Refuses to start without it in multi-tenant mode.
    Required,
    /// Has something to fall back on.
    Optional,
    /// Never looks at it.
    Unread,
}

/// What some products do with a variable.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The products.
    pub of: Vec<Product>,
    /// Whether they need it.
    pub need: Need,
    /// What it is when it is not set.
    #[serde(default)]
    pub code: String,
    /// What 0 means.
    #[serde(default)]
    pub zero: String,
    /// What the chart writes when nothing is given; `required` when the chart insists on a value;
    /// absent when the chart does not write the variable.
    pub chart: Option<String>,
    /// What else there is to say.
    #[serde(default)]
    pub note: String,
}

/// A variable that matters for tenancy, identity or security.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// How it is read.
    pub kind: Kind,
    /// Whether its value is a secret.
    #[serde(default)]
    pub secret: bool,
    /// One sentence.
    pub doc: String,
    /// What the public documentation says, where the code does something else.
    pub documented: Option<String>,
    /// What each product does with it.
    pub cells: Vec<Cell>,
}

impl Variable {
    /// Returns what `product` does with it.
    pub fn cell(&self, product: Product) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.of.contains(&product))
    }
}

/// The kind of a static store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// PostgreSQL.
    Postgresql,
    /// MongoDB.
    Mongodb,
    /// Redis.
    Redis,
    /// RabbitMQ.
    Rabbitmq,
}

/// A store that a product has besides those of its tenants.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Store {
    /// The products.
    pub of: Vec<Product>,
    /// Its name in a sentence.
    pub what: String,
    /// Variable with its host.
    pub host: String,
    /// Variable that says whether it speaks TLS: an sslmode, a flag, or a scheme.
    pub tls: String,
    /// What it is.
    pub kind: StoreKind,
    /// Whether it is dialled at boot in multi-tenant mode too.
    pub multi_tenant: bool,
    /// Whether that is concluded from the product's structure, and was not seen in its code.
    #[serde(default)]
    pub inferred: bool,
    /// What the chart writes.
    #[serde(default)]
    pub chart: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    of: Vec<Product>,
    kind: Kind,
    #[serde(rename = "names")]
    list: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    variable: Vec<Variable>,
    store: Vec<Store>,
    names: Vec<Names>,
}

/// Everything that is known of the products' variables.
#[derive(Debug)]
pub struct Catalogue {
    /// Variables that matter, in a fixed order.
    pub variables: Vec<Variable>,
    /// Static stores.
    pub stores: Vec<Store>,
    plain: BTreeMap<String, Vec<(Kind, Vec<Product>)>>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let file: File =
        toml::from_str(include_str!("catalogue.toml")).expect("a test reads the catalogue");
    let mut plain: BTreeMap<String, Vec<(Kind, Vec<Product>)>> = BTreeMap::new();
    for group in file.names {
        for name in group.list {
            plain
                .entry(name)
                .or_default()
                .push((group.kind, group.of.clone()));
        }
    }
    Catalogue {
        variables: file.variable,
        stores: file.store,
        plain,
    }
});

/// Returns the catalogue.
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

/// Families of variables that libraries and platforms read by prefix; none is told from another.
const FAMILIES: &[&str] = &[
    "OTEL_",
    "SWAGGER_",
    "SD_",
    "STREAMING_",
    "RATE_LIMIT_",
    "AGGRESSIVE_RATE_LIMIT_",
    "RELAXED_RATE_LIMIT_",
    "EXPORT_",
    "DISPATCH_",
    "CALLBACK_",
    "ARCHIVAL_",
    "SCHEDULER_",
    "WEBHOOK_",
    "IDEMPOTENCY_",
    "DEDUPE_",
    "E2E_",
    "DATASOURCE_",
    "OBJECT_STORAGE_",
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "KMS_",
    "KUBERNETES_",
    "POD_",
    "HOST_",
    "NODE_",
    "LERIANCTL_",
    "LC_",
    "XDG_",
    "SSH_",
    "SUDO_",
    "GIT_",
    "NPM_",
    "CARGO_",
    "RUST",
    "DEBIAN_",
    "DOCKER_",
    "GO",
    "BASH",
    "LESS",
    "SSL_CERT_",
    "JAVA_",
    "PYTHON",
    "PYENV",
    "DBUS_",
    "SYSTEMD_",
    "ALLOW_",
    "READYZ_",
    "AUTH_",
    "CRYPTO_",
    "TRACER_",
    "DB_METRICS_",
    "REDIS_",
    "COMPOSE_",
    "ANTHROPIC_",
    "REPLICATOR",
    "REPLICATION",
];

/// Variables of the operating system and of shells.
const SYSTEM: &[&str] = &[
    "PATH",
    "HOME",
    "HOSTNAME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "TERM",
    "LANG",
    "LANGUAGE",
    "TZ",
    "SHLVL",
    "MAIL",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "DISPLAY",
    "COLUMNS",
    "LINES",
    "TMPDIR",
    "NO_COLOR",
    "CI",
    "_",
    "PS1",
    "IFS",
    "HISTFILE",
    "COLORTERM",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
];

impl Catalogue {
    /// Returns the variable called `name` when it matters.
    pub fn find(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    /// Returns what `product` does with `name`, when the variable matters.
    pub fn cell(&self, name: &str, product: Product) -> Option<&Cell> {
        self.find(name)?.cell(product)
    }

    /// Returns how `product` reads `name`; `None` when it is not known to read it.
    pub fn kind(&self, name: &str, product: Product) -> Option<Kind> {
        if let Some(variable) = self.find(name) {
            let cell = variable.cell(product)?;
            let kind = if variable.secret {
                Kind::Secret
            } else {
                variable.kind
            };
            return (cell.need != Need::Unread).then_some(kind);
        }
        self.plain
            .get(name)?
            .iter()
            .find(|(_, of)| of.contains(&product))
            .map(|(kind, _)| *kind)
    }

    /// Returns true when some product reads `name`, or a family or the system has it.
    pub fn is_known(&self, name: &str) -> bool {
        self.find(name).is_some()
            || self.plain.contains_key(name)
            || FAMILIES.iter().any(|family| name.starts_with(family))
            || SYSTEM.contains(&name)
            || name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.contains("_PORT_") && name.contains("_TCP")
            || name.chars().any(|c| c.is_ascii_lowercase())
    }

    /// Returns true when the value of `name` must never be shown, whoever reads it.
    pub fn is_secret(&self, name: &str) -> bool {
        let listed =
            |kinds: &Vec<(Kind, Vec<Product>)>| kinds.iter().any(|it| it.0 == Kind::Secret);
        self.find(name).is_some_and(|variable| variable.secret)
            || self.plain.get(name).is_some_and(listed)
            || SECRET_WORDS.iter().any(|word| name.contains(word))
    }

    /// Returns the names that `product` reads.
    pub fn names(&self, product: Product) -> impl Iterator<Item = &str> {
        let matter = self.variables.iter().filter_map(move |variable| {
            let cell = variable.cell(product)?;
            (cell.need != Need::Unread).then_some(variable.name.as_str())
        });
        let plain = self
            .plain
            .iter()
            .filter(move |(_, kinds)| kinds.iter().any(|(_, of)| of.contains(&product)))
            .map(|(name, _)| name.as_str());
        matter.chain(plain)
    }

    /// Returns the static stores of `product`.
    pub fn stores(&self, product: Product) -> impl Iterator<Item = &Store> {
        self.stores
            .iter()
            .filter(move |store| store.of.contains(&product))
    }
}

/// A name with one of these holds a secret, known or not.
const SECRET_WORDS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "_PASS",
    "SECRET",
    "TOKEN",
    "API_KEY",
    "PRIVATE_KEY",
    "CREDENTIAL",
    "ACCESS_KEY",
    "LICENSE_KEY",
    "ENC_KEY",
    "DATABASE_URL",
    "_DSN",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_catalogue_is_whole() {
        let all = catalogue();
        let names: BTreeSet<_> = all.variables.iter().map(|v| &v.name).collect();
        assert_eq!(names.len(), all.variables.len());
        for variable in &all.variables {
            assert!(variable.doc.ends_with('.'), "{}", variable.name);
            assert!(!all.plain.contains_key(&variable.name), "{}", variable.name);
            let mut seen = BTreeSet::new();
            for product in variable.cells.iter().flat_map(|cell| &cell.of) {
                assert!(seen.insert(*product), "{} {product} twice", variable.name);
            }
            // Who reads a variable of tenancy is known for every product.
            if variable.name.starts_with("MULTI_TENANT_") || variable.name.starts_with("PLUGIN_") {
                assert_eq!(seen.len(), Product::ALL.len(), "{}", variable.name);
            }
        }
        for store in &all.stores {
            for name in [&store.host, &store.tls] {
                for product in &store.of {
                    assert!(all.kind(name, *product).is_some(), "{product} {name}");
                }
            }
        }
    }

    #[test]
    fn secrets_are_known_by_list_and_by_name() {
        let all = catalogue();
        for name in [
            "MULTI_TENANT_SERVICE_API_KEY",
            "DB_ONBOARDING_PASSWORD",
            "RABBITMQ_DEFAULT_PASS",
            "MY_TOKEN",
            "DATASOURCE_X_PASSWORD",
            "ONBOARDING_DATABASE_URL",
        ] {
            assert!(all.is_secret(name), "{name}");
        }
        for name in ["MULTI_TENANT_URL", "ENV_NAME", "MULTI_TENANT_REDIS_HOST"] {
            assert!(!all.is_secret(name), "{name}");
        }
    }
}
