//! The names of a server's keys, sorted by what they say of isolation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::facts::Place;
use crate::cache::{KeyTenant, PREFIXED_TWICE, UNCLASSIFIED, classify, printable};

/// Kinds of keys without a tenant that are told apart, so that a strange server cannot fill the
/// memory.
const GROUPS: usize = 200;
/// Unknown tenants that are told apart.
const STRANGERS: usize = 1_000;
/// Keys with credentials whose values are looked at.
const CREDENTIALS: usize = 20_000;

/// Keys that stand together in a finding.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// What the keys begin with, without what may be about a person.
    pub(super) shape: String,
    /// Why they are of no tenant.
    pub(super) reason: String,
    /// Tenants that the keys name all the same.
    pub(super) tenants: BTreeSet<KeyTenant>,
    /// How many there are.
    pub(super) keys: u64,
    /// One of them, to ask for its time to live; never shown.
    pub(super) sample: Vec<u8>,
    /// Its time to live in words; empty when not asked.
    pub(super) ttl: String,
}

/// What a walk over the keys of one server found.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Keys that the server holds.
    pub(super) keys: u64,
    /// Keys that were looked at.
    pub(super) seen: u64,
    /// Keys that belong to no tenant.
    pub(super) groups: BTreeMap<String, Group>,
    /// Kinds that were not told apart any more.
    pub(super) beyond: u64,
    /// Keys by tenant.
    pub(super) tenants: BTreeMap<KeyTenant, u64>,
    /// Keys that hold connections or credentials.
    pub(super) credentials: Vec<Vec<u8>>,
    /// Such keys that were not kept.
    pub(super) more_credentials: u64,
}

impl Census {
    /// Takes a key; `allowed` are beginnings that are known to belong to nobody.
    pub(super) fn add(&mut self, key: &[u8], allowed: &[String]) {
        self.seen += 1;
        if allowed
            .iter()
            .any(|beginning| key.starts_with(beginning.as_bytes()))
        {
            return;
        }
        let known = classify(key);
        if matches!(
            known.class.id,
            "resolver.connections" | "matcher.m2m-credentials"
        ) {
            if self.credentials.len() < CREDENTIALS {
                self.credentials.push(key.to_vec());
            } else {
                self.more_credentials += 1;
            }
        }
        let tenant = known.tenant();
        if known.class.id == PREFIXED_TWICE.id {
            let inner = key
                .windows(7)
                .rposition(|window| window == b"tenant:")
                .and_then(|at| key[at + 7..].split(|byte| *byte == b':').next())
                .and_then(|id| KeyTenant::parse(str::from_utf8(id).ok()?));
            let tenants = tenant.into_iter().chain(inner).collect();
            self.group(
                key,
                "tenant:‹id›:tenant:‹id›:".into(),
                "the prefix stands twice",
                tenants,
            );
        } else if let Some(tenant) = tenant {
            if self.tenants.len() < STRANGERS * 100 || self.tenants.contains_key(&tenant) {
                *self.tenants.entry(tenant).or_default() += 1;
            } else {
                self.beyond += 1;
            }
        } else if !known.class.is_of_no_tenant() {
            let reason = if known.class.id == UNCLASSIFIED.id {
                "they are in no map of known keys".to_owned()
            } else {
                format!(
                    "`{}` has them below the tenant, and these are not",
                    known.class.id
                )
            };
            self.group(key, shape(key), &reason, BTreeSet::new());
        }
    }

    fn group(&mut self, key: &[u8], shape: String, reason: &str, tenants: BTreeSet<KeyTenant>) {
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&shape) {
            self.beyond += 1;
            return;
        }
        let group = self.groups.entry(shape.clone()).or_insert_with(|| Group {
            shape,
            reason: reason.to_owned(),
            tenants: BTreeSet::new(),
            keys: 0,
            sample: key.to_vec(),
            ttl: String::new(),
        });
        group.keys += 1;
        if group.tenants.len() < 50 {
            group.tenants.extend(tenants);
        }
    }

    /// Returns the share of keys that a kind may have and still be missed with 5 % probability.
    pub(super) fn bound(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let seen = self.seen.max(1) as f64;
        1.0 - 0.05_f64.powf(1.0 / seen)
    }
}

/// Returns the first two segments, with whatever looks like an id or a name of somebody masked.
pub(super) fn shape(key: &[u8]) -> String {
    let segments: Vec<&[u8]> = key.splitn(3, |byte| *byte == b':').collect();
    let mut shape = String::new();
    for (at, segment) in segments.iter().take(2).enumerate() {
        let last = at + 1 == segments.len();
        let text = printable(segment);
        let plain = text.len() <= 40
            && !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '{' | '}' | '.'));
        // The last part of a key is mostly what it is about; a first part alone is its kind.
        if plain && (!last || at == 0) {
            shape.push_str(&text);
        } else {
            shape.push_str("‹…›");
        }
        if !last {
            shape.push(':');
        }
    }
    if segments.len() == 3 {
        shape.push_str("‹…›");
    }
    shape
}

/// Returns where the connections in `value` lead, and nothing of their passwords.
pub(super) fn places(value: &[u8]) -> BTreeSet<Place> {
    fn collect(value: &Value, found: &mut BTreeSet<Place>) {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        // MongoDB's have a URI or an authSource, and are not compared.
        let (host, database, login) = (text("host"), text("database"), text("username"));
        if let (Some(host), Some(database), Some(login), None, None) =
            (host, database, login, text("uri"), text("authSource"))
        {
            found.insert(Place {
                host: host.trim_end_matches('.').to_ascii_lowercase(),
                port: value.get("port").and_then(Value::as_u64).unwrap_or(5432),
                database: database.to_owned(),
                schema: text("schema").unwrap_or_default().to_owned(),
                login: login.to_owned(),
            });
        }
        match value {
            // Replicas have names of their own, and MongoDB's databases too.
            Value::Object(map) => map
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "mongodb" | "postgresqlReplica"))
                .for_each(|(_, value)| collect(value, found)),
            Value::Array(all) => all.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    if let Ok(value) = serde_json::from_slice::<Value>(value) {
        collect(&value, &mut found);
    }
    found
}

/// Returns the names of fields of `value` that hold a password one can read.
///
/// Looked for are fields of JSON and addresses with a password in them; a sealed value has neither.
pub(super) fn readable(value: &[u8]) -> BTreeSet<&'static str> {
    const FIELDS: &[&str] = &[
        "password",
        "passwd",
        "pwd",
        "clientSecret",
        "client_secret",
        "secret",
        "apiKey",
        "api_key",
    ];
    let text = String::from_utf8_lossy(value);
    // A document within a document has its quotes escaped, once for each level.
    let text = text.replace('\\', "");
    let mut found = BTreeSet::new();
    for field in FIELDS {
        let name = format!("\"{field}\"");
        for (at, _) in text
            .to_ascii_lowercase()
            .match_indices(&name.to_ascii_lowercase())
        {
            let rest = text[at + name.len()..].trim_start();
            let value = rest.strip_prefix(':').map(str::trim_start);
            if value.is_some_and(|value| {
                value.starts_with('"') && !value.starts_with("\"\"") && value.len() > 1
            }) {
                found.insert(*field);
            }
        }
    }
    // As libpq takes it: host=h password=p.
    let lower = text.to_ascii_lowercase();
    let has_words = lower.match_indices("password=").any(|(at, word)| {
        let before = lower[..at].chars().next_back();
        let value = lower[at + word.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            && value.is_some_and(|c| !c.is_whitespace() && c != '"' && c != '&')
    });
    if has_words {
        found.insert("an address with a password");
    }
    let has_url = text.match_indices("://").any(|(at, _)| {
        let authority = text[at + 3..]
            .split(['/', '"', '?', ' '])
            .next()
            .unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else {
            return false;
        };
        user.split_once(':')
            .is_some_and(|(_, password)| !password.is_empty())
    });
    if has_url {
        found.insert("an address with a password");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_by_whose_they_are() {
        let mut census = Census::default();
        for key in [
            "tenant:acme:balance:{transactions}:o:l:@cash#default",
            "balance:{transactions}:o:l:@cash#default",
            "session:maria@example.com",
            "lock:{transactions}:backup-consumer-cycle",
            "matcher:discovery:sync",
            "tenant:acme:tenant:borealis:balance:{transactions}:x",
            "tenant-connections:acme:ledger",
            "limits:x",
        ] {
            census.add(key.as_bytes(), &["limits:".into()]);
        }
        assert_eq!(census.seen, 8);
        let shapes: Vec<&str> = census.groups.keys().map(String::as_str).collect();
        assert_eq!(
            shapes,
            [
                "balance:{transactions}:‹…›",
                "session:‹…›",
                "tenant:‹id›:tenant:‹id›:"
            ]
        );
        assert_eq!(census.groups["tenant:‹id›:tenant:‹id›:"].tenants.len(), 2);
        assert_eq!(census.tenants[&KeyTenant::parse("acme").unwrap()], 2);
        assert_eq!(census.credentials.len(), 1);
    }

    #[test]
    fn readable_passwords_are_found_and_sealed_values_pass() {
        assert!(readable(br#"{"databases":{"x":{"password" : "hunter2"}}}"#).contains("password"));
        assert!(readable(br#"{"uri":"mongodb://a:hunter2@h/"}"#).len() == 1);
        assert!(readable(br#"{"clientId":"a","clientSecret":"b"}"#).contains("clientSecret"));
        assert!(readable(br#"{"x":"{\"pwd\":\"hunter2\"}"}"#).contains("pwd"));
        assert!(!readable(b"host=h password='hunter2'").is_empty());
        for sealed in [
            &b"\x01\x02sealed bytes"[..],
            br#"{"password":""}"#,
            br#"{"password":null}"#,
            b"host=h password= dbname=a",
            b"has_password=true",
            b"amqp://h:5672/x",
        ] {
            assert!(readable(sealed).is_empty(), "{sealed:?}");
        }
    }

    #[test]
    fn the_bound_shrinks_with_what_was_seen() {
        let of = |seen| Census {
            seen,
            ..Census::default()
        };
        assert!(of(200_000).bound() < 0.000_016 && of(10).bound() > 0.2);
    }
}
