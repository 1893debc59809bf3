//! Which keys a command is about, and the one `MATCH` pattern that finds them.

use std::collections::BTreeSet;

use super::classes::{CLASSES, KeyClass, Place, RESOLVER, Verdict};
use super::keyspace::{Classified, KeyTenant};
use crate::contract::ServiceName;

/// The keys that a command is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    tenants: Option<BTreeSet<KeyTenant>>,
    service: Option<ServiceName>,
}

impl Scope {
    /// Returns the scope of every tenant and service.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Narrows the scope to these tenants; to nothing when there are none.
    #[must_use]
    pub fn tenants(mut self, tenants: impl IntoIterator<Item = KeyTenant>) -> Self {
        self.tenants = Some(tenants.into_iter().collect());
        self
    }

    /// Narrows the scope to one service.
    #[must_use]
    pub fn service(mut self, service: ServiceName) -> Self {
        self.service = Some(service);
        self
    }

    /// Returns true when no key can belong to the scope.
    pub fn is_empty(&self) -> bool {
        self.tenants.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Returns true when a key belongs to the scope.
    pub fn includes(&self, key: &Classified<'_>) -> bool {
        let service = match &self.service {
            None => true,
            Some(service) => key.service == Some(service.as_str()),
        };
        service
            && match &self.tenants {
                None => true,
                Some(tenants) => key.tenant().is_some_and(|tenant| tenants.contains(&tenant)),
            }
    }

    /// Returns the pattern that matches every key of the scope whose class `wanted` accepts, and
    /// as little else as one pattern can; `None` when only a scan of all keys will do.
    ///
    /// The server compares it with every key that it holds, so its cost decides how long a flush
    /// takes. A `*` before the id would be tried at each byte of each key (measured: twice the
    /// time); a second scan doubles the time. So all spellings and places of the id are laid over
    /// each other, position by position: `tenant:7b…` and `matcher:d…` become `[tm][ea][nt]…`.
    /// Such a pattern fails at the first byte that fits nothing and never goes back. It may match
    /// strangers; [`Scope::includes`] has the last word on each key.
    pub fn glob(&self, wanted: impl Fn(&KeyClass) -> bool) -> Option<Vec<u8>> {
        let classes = CLASSES
            .iter()
            .filter(|class| self.may_hold(class) && wanted(class));
        let mut places = BTreeSet::new();
        for class in classes {
            places.insert(match class.place {
                Place::Prefix => "tenant:",
                Place::After(before) => before,
                // Without a tenant, and these classes are without one, any name may be wanted.
                Place::Nowhere if self.tenants.is_none() => return None,
                Place::Nowhere => continue,
            });
        }
        if self.tenants.is_none() && !places.is_empty() {
            let alternatives = places
                .iter()
                .map(|place| literal(place))
                .collect::<Vec<_>>();
            return Some(overlay(&alternatives, |_| true));
        }
        let ids: Vec<_> = self.tenants.iter().flatten().collect();
        let alternatives: Vec<_> = places
            .iter()
            .flat_map(|place| {
                ids.iter().flat_map(|id| id.spellings()).map(|spelling| {
                    let mut bytes = literal(place);
                    bytes.extend(either_case(&spelling));
                    bytes.push(vec![b':']);
                    bytes
                })
            })
            .collect();
        let shared = match ids.as_slice() {
            [KeyTenant::Uuid(id)] => "tenant:".len() + shared_prefix(&id.simple().to_string()),
            _ => 0,
        };
        // The first letters of the places tell little; those around the id's begin tell apart
        // what stands there in keys of other classes; then the id, where it differs from others.
        Some(overlay(&alternatives, |at| {
            (6..12).contains(&at) || at >= shared.max(12)
        }))
    }

    fn may_hold(&self, class: &KeyClass) -> bool {
        match &self.service {
            Some(service) => class.service == service.as_str() || class.id == RESOLVER,
            None => true,
        }
    }
}

/// Accepts the classes that a flush deletes.
pub(super) fn is_cache(class: &KeyClass) -> bool {
    class.verdict == Verdict::Safe
}

/// Per position, the bytes that may stand there.
type Positions = Vec<Vec<u8>>;

fn literal(text: &str) -> Positions {
    text.bytes().map(|byte| vec![byte]).collect()
}

/// Hexadecimal letters are looked for in either case, for UUIDs; elsewhere that finds at most a
/// key that is not in scope.
fn either_case(id: &str) -> Positions {
    id.bytes()
        .map(|byte| match byte {
            b'a'..=b'f' => vec![byte, byte.to_ascii_uppercase()],
            _ => vec![byte],
        })
        .collect()
}

/// Returns how many leading digits of a UUID other tenants of a deployment probably share, so
/// that comparing them is wasted time: eight of an id made from the clock, or a row of the same
/// digit in a made-up one.
fn shared_prefix(id: &str) -> usize {
    let first = id.bytes().next();
    let row = id.bytes().take_while(|b| Some(*b) == first).count();
    row.clamp(8, 24)
}

/// Lays alternatives over each other. Where they differ, positions that `compare` passes over are
/// `?`, which costs less than a comparison.
fn overlay(alternatives: &[Positions], compare: impl Fn(usize) -> bool) -> Vec<u8> {
    let length = alternatives.iter().map(Vec::len).min().unwrap_or(0);
    let mut glob = Vec::with_capacity(length * 5);
    for at in 0..length {
        let mut bytes: Vec<u8> = alternatives
            .iter()
            .flat_map(|a| a[at].iter().copied())
            .collect();
        bytes.sort_unstable();
        bytes.dedup();
        match bytes.as_slice() {
            [byte] => push_escaped(&mut glob, *byte),
            // A long list costs more than what it keeps out.
            many if many.len() > 12 || !compare(at) => glob.push(b'?'),
            many => {
                glob.push(b'[');
                for byte in many {
                    push_escaped(&mut glob, *byte);
                }
                glob.push(b']');
            }
        }
    }
    glob.push(b'*');
    glob
}

/// The one place where text becomes part of a Redis pattern: all but letters, digits, `:` and
/// `_` is escaped, which means the same inside brackets and outside.
fn push_escaped(glob: &mut Vec<u8>, byte: u8) {
    if !byte.is_ascii_alphanumeric() && !matches!(byte, b':' | b'_') {
        glob.push(b'\\');
    }
    glob.push(byte);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::classify;

    /// Redis's own comparison (`stringmatchlen`), for the forms that are written here.
    fn redis_matches(glob: &[u8], text: &[u8]) -> bool {
        match (glob, text) {
            ([], []) | ([b'*'], _) => true,
            ([b'?', glob @ ..], [_, text @ ..]) => redis_matches(glob, text),
            ([b'[', rest @ ..], [byte, text @ ..]) => {
                let mut at = 0;
                let mut hit = false;
                while rest[at] != b']' {
                    if rest[at] == b'\\' {
                        at += 1;
                    } else {
                        assert_ne!(rest[at + 1], b'-', "a range");
                    }
                    hit |= rest[at] == *byte;
                    at += 1;
                }
                hit && redis_matches(&rest[at + 1..], text)
            }
            ([b'\\', a, glob @ ..] | [a, glob @ ..], [b, text @ ..]) => {
                a == b && redis_matches(glob, text)
            }
            _ => false,
        }
    }

    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9a-f]{32}",
            "0{20,31}[0-9a-f]{1,12}".prop_filter("32 digits", |id| id.len() == 32),
            "[a-zA-Z0-9][a-zA-Z0-9_-]{0,40}",
            Just("a".to_owned()),
            Just("7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21".to_owned()),
        ]
    }

    fn spelled(id: &str, way: u8) -> String {
        match KeyTenant::parse(id) {
            Some(KeyTenant::Uuid(id)) => match way % 4 {
                0 => id.simple().to_string(),
                1 => id.hyphenated().to_string(),
                2 => id.simple().to_string().to_uppercase(),
                _ => id.hyphenated().to_string().to_uppercase(),
            },
            _ => id.to_owned(),
        }
    }

    fn key(class: &KeyClass, id: &str, filling: &str) -> String {
        class
            .pattern()
            .replace("<tenant>", id)
            .replace('*', filling)
    }

    proptest! {
        #[test]
        fn the_pattern_finds_every_key_of_its_scope(
            ids in prop::collection::vec(id(), 1..4),
            at in 0_usize..100,
            way: u8,
            filling in "[a-z0-9.-]{1,40}",
            service in prop::option::of(prop_oneof![Just("ledger"), Just("matcher"), Just("tracer")]),
        ) {
            let tenants = ids.iter().map(|id| KeyTenant::parse(id).unwrap());
            let mut scope = Scope::everything().tenants(tenants);
            if let Some(service) = service {
                scope = scope.service(service.parse().unwrap());
            }
            let class = &CLASSES[at % CLASSES.len()];
            let key = key(class, &spelled(&ids[0], way), &filling);
            let known = classify(key.as_bytes());
            if scope.includes(&known) {
                let all = scope.glob(|_| true).unwrap();
                prop_assert!(redis_matches(&all, key.as_bytes()), "{key}");
                if known.is_deletable() {
                    let caches = scope.glob(is_cache).unwrap();
                    prop_assert!(redis_matches(&caches, key.as_bytes()), "{key}");
                }
            }
        }

        #[test]
        fn two_tenants_never_share_a_key(a in id(), b in id(), at in 0_usize..100, filling in ".{0,20}") {
            let (one, other) = (KeyTenant::parse(&a).unwrap(), KeyTenant::parse(&b).unwrap());
            prop_assume!(one != other);
            let class = &CLASSES[at % CLASSES.len()];
            let key = key(class, &a, &filling);
            let scope = Scope::everything().tenants([other]);
            prop_assert!(!scope.includes(&classify(key.as_bytes())), "{key}");
        }
    }

    #[test]
    fn an_id_that_begins_another_is_another_tenant() {
        let scope = Scope::everything().tenants([KeyTenant::parse("acme").unwrap()]);
        assert!(scope.includes(&classify(b"tenant:acme:fee_packages:{a:b}")));
        for key in [
            "tenant:acme2:fee_packages:{a:b}",
            "tenant:acm:fee_packages:{a:b}",
            "tenant:ACME:fee_packages:{a:b}",
            "matcher:discovery:schema:v2:acme-2:x",
            "tenant:x:tenant:acme:fee_packages:{a:b}",
        ] {
            assert!(!scope.includes(&classify(key.as_bytes())), "{key}");
        }
    }

    #[test]
    fn patterns_are_literal_where_they_can_be() {
        let ledger = Scope::everything()
            .tenants([KeyTenant::parse("a_b-c").unwrap()])
            .service("fetcher".parse().unwrap());
        let glob = ledger.glob(|class| class.id == "fetcher.schema").unwrap();
        assert_eq!(
            String::from_utf8(glob).unwrap(),
            "tenant:[Aa]_[Bb]\\-[Cc]:*"
        );
        assert_eq!(Scope::everything().glob(|_| true), None);
        assert!(Scope::everything().tenants([]).is_empty());
    }
}
