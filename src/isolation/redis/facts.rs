//! What is read of one server, before anything is concluded from it.

use std::collections::{BTreeMap, BTreeSet};

use super::acl::{self, User};
use super::census::Census;
use crate::cache::KeyTenant;

/// A tenant as its keys name it.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) name: String,
    /// Its id, as it is written.
    pub(super) id: String,
    /// Its id in keys; absent where it cannot stand in one.
    pub(super) key: Option<KeyTenant>,
    pub(super) status: String,
    pub(super) environment: String,
    /// Where the inventory leads it, by service.
    pub(super) places: BTreeSet<(String, Place)>,
}

/// A database, or a schema of one, and the login for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u64,
    pub(super) database: String,
    pub(super) schema: String,
    pub(super) login: String,
}

impl Place {
    /// Returns the database or schema, whoever logs in there.
    pub(super) fn spot(&self) -> (&str, u64, &str, &str) {
        (&self.host, self.port, &self.database, &self.schema)
    }
}

impl Tenant {
    /// Returns the beginnings of its keys, in each spelling of its id.
    pub(super) fn prefixes(&self) -> Vec<String> {
        match &self.key {
            Some(KeyTenant::Uuid(id)) => vec![
                format!("tenant:{}:", id.simple()),
                format!("tenant:{}:", id.hyphenated()),
            ],
            _ => vec![format!("tenant:{}:", self.id)],
        }
    }
}

/// What findings are judged against.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) tenants: Vec<Tenant>,
    /// True when the inventory has every tenant.
    pub(super) complete: bool,
    /// Environments of the tenants that have events.
    pub(super) environments: Vec<String>,
    /// Users that may do everything, besides the one of lerianctl itself.
    pub(super) trusted: BTreeSet<String>,
    /// Clients that should listen, when it is known.
    pub(super) listeners: Option<u64>,
}

impl Context {
    pub(super) fn by_key(&self, key: &KeyTenant) -> Option<&Tenant> {
        self.tenants
            .iter()
            .find(|tenant| tenant.key.as_ref() == Some(key))
    }

    /// Returns the tenants that a user belongs to: those that its name holds, or else those that
    /// its patterns name.
    pub(super) fn tenants_of(&self, user: &User) -> BTreeSet<usize> {
        let named = |tenant: &Tenant| {
            [&tenant.name, &tenant.id]
                .into_iter()
                .any(|word| acl::holds_word(&user.name, word))
        };
        let by_name: BTreeSet<usize> = self.positions(named);
        if !by_name.is_empty() {
            return by_name;
        }
        let by_pattern = self.positions(|tenant| {
            let prefixes = tenant.prefixes();
            prefixes.iter().any(|prefix| user.names(prefix))
        });
        // A product's user may have every tenant written down.
        if by_pattern.len() > 1 && by_pattern.len() == self.tenants.len() {
            return BTreeSet::new();
        }
        by_pattern
    }

    fn positions(&self, wanted: impl Fn(&Tenant) -> bool) -> BTreeSet<usize> {
        let all = self.tenants.iter().enumerate();
        all.filter(|(_, tenant)| wanted(tenant))
            .map(|(at, _)| at)
            .collect()
    }

    pub(super) fn is_trusted(&self, user: &User, me: &str) -> bool {
        user.name == me || self.trusted.contains(&user.name)
    }

    /// Returns the users that are not administrators, and may log in.
    pub(super) fn judged<'a>(
        &'a self,
        users: &'a [User],
        me: &'a str,
    ) -> impl Iterator<Item = &'a User> {
        users
            .iter()
            .filter(move |user| user.enabled && !self.is_trusted(user, me))
    }
}

/// What is asked of `ACL DRYRUN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// Whether the server answers as it should: something that the user surely may.
    Sanity,
    /// A key of the tenant at this place in the context.
    Tenant(usize),
    /// A key that is nobody's.
    Outside,
    /// An event of this environment.
    Publish(String),
    /// A command of an administrator.
    Command(&'static str),
    /// A script.
    Script,
    /// Scripts of others, to be gone.
    FlushScripts,
}

/// A question about a user: it is answered with yes when one of the commands is allowed.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) user: String,
    pub(super) about: About,
    pub(super) commands: Vec<Vec<String>>,
}

/// What a client of the server is, of `CLIENT LIST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) address: String,
    pub(super) user: String,
    pub(super) database: i64,
    pub(super) channels: u64,
    pub(super) patterns: u64,
}

impl Client {
    /// Reads `CLIENT LIST`.
    pub(super) fn parse(text: &str) -> Vec<Self> {
        let of = |line: &str| {
            let field = |name: &str| {
                line.split_whitespace()
                    .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                    .map(str::to_owned)
            };
            let number = |name: &str| field(name)?.parse().ok();
            Some(Self {
                address: field("addr")?,
                user: field("user").unwrap_or_else(|| "default".into()),
                database: number("db").unwrap_or(0),
                channels: number("sub").unwrap_or(0).unsigned_abs(),
                patterns: number("psub").unwrap_or(0).unsigned_abs(),
            })
        };
        text.lines().filter_map(of).collect()
    }
}

/// Everything that is read of one server. What could not be read holds the reason.
#[derive(Debug)]
pub(super) struct Node {
    /// `host:port`.
    pub(super) name: String,
    /// True for the server that carries the events.
    pub(super) events: bool,
    /// True when it is this machine.
    pub(super) local: bool,
    /// True when lerianctl speaks TLS to it.
    pub(super) tls: bool,
    /// User that lerianctl logs in with.
    pub(super) me: String,
    /// Answer of `INFO`.
    pub(super) info: String,
    /// True when a connection without a login was answered.
    pub(super) open: Result<bool, String>,
    /// Users.
    pub(super) users: Result<Vec<User>, String>,
    /// Answers of `ACL DRYRUN`.
    pub(super) dry: Result<BTreeMap<(String, About), bool>, String>,
    /// Answers of `CONFIG GET`.
    pub(super) config: Result<BTreeMap<String, String>, String>,
    /// Clients.
    pub(super) clients: Result<Vec<Client>, String>,
    /// Answer of `PUBSUB NUMPAT`.
    pub(super) patterns: Result<u64, String>,
    /// Answers of `PUBSUB NUMSUB`, by environment.
    pub(super) listeners: Result<BTreeMap<String, u64>, String>,
    /// Keys.
    pub(super) census: Result<Census, String>,
    /// Tenants with keys in other databases of the server, by number.
    pub(super) others: BTreeMap<i64, BTreeSet<KeyTenant>>,
    /// Readable fields in values with credentials, by class and tenant.
    pub(super) readable: BTreeMap<(&'static str, KeyTenant), BTreeSet<&'static str>>,
    /// Values that were read.
    pub(super) values: u64,
    /// Where values with connections lead, by tenant and service.
    pub(super) kept: BTreeMap<(KeyTenant, String), BTreeSet<Place>>,
}

impl Node {
    /// Returns a value of `INFO`.
    pub(super) fn fact(&self, name: &str) -> Option<&str> {
        self.info
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Returns the product's name and version.
    pub(super) fn version(&self) -> (&'static str, String) {
        match self.fact("valkey_version") {
            Some(version) => ("Valkey", version.to_owned()),
            None => (
                "Redis",
                self.fact("redis_version").unwrap_or_default().to_owned(),
            ),
        }
    }

    /// Returns the numbers of the databases that hold keys.
    pub(super) fn databases(&self) -> BTreeSet<i64> {
        let lines = self.info.lines().filter_map(|line| {
            let (name, _) = line.split_once(":keys=")?;
            name.strip_prefix("db")?.parse().ok()
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_read() {
        let text = "id=3 addr=10.0.0.9:5 name= db=2 sub=1 psub=2 user=svc\nid=4 addr=h:1 db=0\n";
        let clients = Client::parse(text);
        assert_eq!((clients[0].user.as_str(), clients[0].database), ("svc", 2));
        assert_eq!((clients[0].channels, clients[0].patterns), (1, 2));
        assert_eq!(
            (clients[1].user.as_str(), clients[1].patterns),
            ("default", 0)
        );
    }
}
