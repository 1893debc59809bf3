//! Says of a key, by its name alone, what it is, whose it is, and whether it may be deleted.

use std::fmt;

use uuid::Uuid;

use super::classes::{
    CLASSES, DENIED, KeyClass, PREFIXED_TWICE, Place, RESOLVER, UNCLASSIFIED, Verdict,
};
use crate::contract::ids::{IdError, ServiceName, TenantId, is_claimable_tenant_id};

/// The tenant that a key belongs to. Two spellings of one UUID are one tenant; any other id is
/// itself alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyTenant {
    /// A UUID, however it is spelled in keys.
    Uuid(Uuid),
    /// Any other id that products accept, byte for byte.
    Other(Box<str>),
}

impl KeyTenant {
    /// Reads an id as it stands in a key: what products accept as a tenant id, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        if let (32 | 36, Ok(id)) = (text.len(), Uuid::try_parse(text)) {
            return Some(Self::Uuid(id));
        }
        is_claimable_tenant_id(text).then(|| Self::Other(text.into()))
    }

    /// Returns the ways in which products spell the id in keys, without regard to case.
    pub(super) fn spellings(&self) -> Vec<String> {
        match self {
            Self::Uuid(id) => vec![id.simple().to_string(), id.hyphenated().to_string()],
            Self::Other(text) => vec![text.to_string()],
        }
    }
}

impl fmt::Display for KeyTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(id) => id.simple().fmt(f),
            Self::Other(text) => text.fmt(f),
        }
    }
}

impl serde::Serialize for KeyTenant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<&TenantId> for KeyTenant {
    fn from(id: &TenantId) -> Self {
        Self::parse(id.as_str()).expect("a tenant id is a UUID")
    }
}

impl std::str::FromStr for KeyTenant {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text).ok_or_else(|| {
            let mut shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            IdError {
                what: "tenant id",
                shown,
                reason: "a tenant id has 1 to 256 letters, digits, `-` or `_`, and starts with a letter or digit",
            }
        })
    }
}

/// Why a key of a cache class is kept all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// It names no tenant: written by a single-tenant product, or without a tenant at hand.
    NoTenant,
    /// It holds this text, which stands for something that must not be deleted.
    Denied(&'static str),
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified<'k> {
    /// Its class.
    pub class: &'static KeyClass,
    /// The id of its tenant as it is spelled in the key.
    pub spelling: Option<&'k str>,
    /// The service that it is about.
    pub service: Option<&'k str>,
    /// Why it is kept although its class is a cache.
    pub refusal: Option<Refusal>,
}

impl Classified<'_> {
    /// Returns true only for a cache of a known tenant that nothing speaks against.
    pub fn is_deletable(&self) -> bool {
        self.class.verdict == Verdict::Safe && self.spelling.is_some() && self.refusal.is_none()
    }

    /// Returns the tenant that the key belongs to.
    pub fn tenant(&self) -> Option<KeyTenant> {
        self.spelling.and_then(KeyTenant::parse)
    }
}

/// Returns what is known of `key`.
///
/// The name decides alone: no value is read, and what a name says cannot change between this
/// look and a later deletion.
pub fn classify(key: &[u8]) -> Classified<'_> {
    let (class, spelling, rest) = find(key);
    let refusal = if class.verdict != Verdict::Safe {
        None
    } else if let Some(text) = denied(key) {
        Some(Refusal::Denied(text))
    } else if spelling.is_none() {
        Some(Refusal::NoTenant)
    } else {
        None
    };
    let service = match class.service {
        "" => service_of(class, rest),
        service => Some(service),
    };
    Classified {
        class,
        spelling,
        service,
        refusal,
    }
}

/// Returns the first text of [`DENIED`] that `key` holds.
pub fn denied(key: &[u8]) -> Option<&'static str> {
    DENIED
        .iter()
        .find(|text| key.windows(text.len()).any(|w| w == text.as_bytes()))
        .copied()
}

/// Returns the service that a key of the resolver's names: its last segment.
fn service_of<'k>(class: &KeyClass, rest: &'k [u8]) -> Option<&'k str> {
    let name = rest.strip_prefix(b":").filter(|_| class.id == RESOLVER)?;
    let name = str::from_utf8(name).ok()?;
    name.parse::<ServiceName>().is_ok().then_some(name)
}

type Found<'k> = (&'static KeyClass, Option<&'k str>, &'k [u8]);

fn find(key: &[u8]) -> Found<'_> {
    let prefixed = key.strip_prefix(b"tenant:").map(segment);
    if let Some(Some((id, rest))) = prefixed {
        let body = rest.strip_prefix(b":").unwrap_or(rest);
        if body.starts_with(b"tenant:") {
            return (&PREFIXED_TWICE, Some(id), rest);
        }
        let class = CLASSES
            .iter()
            .find(|class| class.place == Place::Prefix && matches(class.body, body))
            .unwrap_or(&UNCLASSIFIED);
        return (class, Some(id), rest);
    }
    if prefixed.is_some() {
        return (&UNCLASSIFIED, None, key);
    }
    for class in CLASSES {
        match class.place {
            Place::After(before) => {
                let Some(Some((id, rest))) = key.strip_prefix(before.as_bytes()).map(segment)
                else {
                    continue;
                };
                let fits = class.id != RESOLVER || service_of(class, rest).is_some();
                if fits && matches(class.body, rest) {
                    return (class, Some(id), rest);
                }
            }
            Place::Prefix | Place::Nowhere if matches(class.body, key) => {
                return (class, None, key);
            }
            Place::Prefix | Place::Nowhere => {}
        }
    }
    (&UNCLASSIFIED, None, key)
}

/// Splits a tenant id off the front, up to a colon; `None` when no id of any product stands there.
fn segment(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| *byte == b':')?;
    let id = str::from_utf8(&text[..end]).ok()?;
    is_claimable_tenant_id(id).then_some((id, &text[end..]))
}

/// Matches `text` against literal text with `*` for any run of bytes.
fn matches(pattern: &str, text: &[u8]) -> bool {
    let first = pattern.as_bytes().first();
    if first != Some(&b'*') && first != text.first() {
        return false;
    }
    let mut parts = pattern.split('*').map(str::as_bytes);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.windows(part.len().max(1)).position(|w| w == part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";
    const DASHED: &str = "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21";

    fn about(key: &str) -> (&'static str, Option<String>, bool) {
        let known = classify(key.as_bytes());
        let tenant = known.tenant().map(|tenant| tenant.to_string());
        (known.class.id, tenant, known.is_deletable())
    }

    #[test]
    fn the_allow_list_is_deletable_in_both_spellings_of_the_tenant() {
        for (rest, class) in [
            ("ledger_settings:{o:l}", "ledger.settings"),
            ("accounting_routes:{o:l:r}", "ledger.accounting-routes"),
            ("fee_packages:{o:l}", "ledger.fee-packages"),
            ("fetcher:schema:any:thing", "fetcher.schema"),
            ("data_source_details:ds", "reporter.data-source"),
            ("matcher:dashboard:x", "matcher.dashboard"),
            ("m2m:target:org:credentials", "matcher.m2m-credentials"),
        ] {
            for id in [ID, DASHED] {
                let key = format!("tenant:{id}:{rest}");
                assert_eq!(about(&key), (class, Some(ID.into()), true), "{key}");
            }
        }
        for id in [ID, DASHED] {
            let key = format!("matcher:discovery:schema:v2:{id}:conn");
            assert_eq!(
                about(&key),
                ("matcher.discovery-schema", Some(ID.into()), true)
            );
            let key = format!("tenant-connections:{id}:ledger");
            assert_eq!(about(&key), (RESOLVER, Some(ID.into()), true));
            assert_eq!(classify(key.as_bytes()).service, Some("ledger"));
        }
    }

    #[test]
    fn what_is_not_a_cache_is_never_deletable() {
        for (key, class) in [
            (
                "tenant:T:balance:{transactions}:o:l:@cash#default",
                "ledger.balance",
            ),
            (
                "tenant:T:schedule:{transactions}:balance-sync-v2",
                "ledger.balance-sync",
            ),
            (
                "tenant:T:schedule:{transactions}:balance-sync",
                "ledger.balance-sync-old",
            ),
            (
                "tenant:T:lock:{transactions}:balance-sync:m",
                "ledger.balance-sync-lock",
            ),
            (
                "tenant:T:backup_queue:{transactions}",
                "ledger.backup-queue",
            ),
            (
                "tenant:T:backup_queue:{transactions}:attempts",
                "ledger.backup-attempts",
            ),
            ("tenant:T:wb_transaction:{o:l:t}", "ledger.pending-write"),
            ("tenant:T:idempotency:{o:l:k}", "ledger.idempotency"),
            (
                "tenant:T:idempotency_reverse:{o:l}:t",
                "ledger.idempotency-reverse",
            ),
            (
                "tenant:T:idempotency:crm:holder:o:k",
                "ledger.crm-holder-idempotency",
            ),
            (
                "tenant:T:idempotency:crm:instrument:o:h:k",
                "ledger.crm-instrument-idempotency",
            ),
            (
                "tenant:T:pending_transaction:{transaction}:o:l:t",
                "ledger.pending-lock",
            ),
            (
                "lock:{transactions}:backup-consumer-cycle",
                "ledger.backup-leader",
            ),
            (
                "tenant:T:redis_consumer_lock:{o:l}:t",
                "ledger.consumer-lock",
            ),
            ("tenant:T:idempotency:abc", "reporter.idempotency"),
            (
                "tenant:T:idempotency:template:abc",
                "reporter.template-idempotency",
            ),
            ("tenant:T:matcher:dedupe:c:h", "matcher.dedupe"),
            ("matcher:idempotency:T:k", "matcher.idempotency"),
            ("matcher:matchrun:lock:T:c", "matcher.run-lock"),
            (
                "tenant:T:matcher:callback:ratelimit:x",
                "matcher.callback-limit",
            ),
            ("matcher:scheduler:schedule:x", "matcher.schedule"),
            ("matcher:discovery:sync", "matcher.discovery-sync"),
            ("matcher:fetcher_bridge:cycle", "matcher.fetcher-bridge"),
            ("matcher:archival:lock", "matcher.archival-lock"),
            ("ratelimit:gold:x", "common.rate-limit"),
            ("tenant:T:ratelimit:gold:x", "common.rate-limit"),
            ("app:ratelimit:gold:x", "common.app-rate-limit"),
            ("idempotency:T:k", "common.tenant-idempotency"),
            ("pacing:x", "common.pacing"),
            ("dlq:T:source", "common.tenant-dead-letters"),
            ("dlq:source", "common.dead-letters"),
            ("lock:mine", "common.lock"),
            (
                "tenant-manager:tenants:active:production:ledger",
                "tenant-manager.active-tenants",
            ),
            ("tenant:T:something:else", "unclassified"),
            ("tenant:T:ledger_settings:o:l", "unclassified"),
            ("tenant:T:ledger_settings:{o:l}x", "unclassified"),
            ("tenant:T:m2m:credentials", "unclassified"),
            ("tenant:T:tenant:T:ledger_settings:{o:l}", "prefixed-twice"),
            ("tenant::ledger_settings:{o:l}", "unclassified"),
            ("tenant:a b:ledger_settings:{o:l}", "unclassified"),
            ("tenant:T", "unclassified"),
            ("tenant:", "unclassified"),
            ("", "unclassified"),
            ("tenant-connections:T:not a service", "unclassified"),
            ("tenant-connections:T:", "unclassified"),
            ("TENANT:T:ledger_settings:{o:l}", "unclassified"),
        ] {
            let key = key.replace(":T:", &format!(":{ID}:"));
            let (found, _, deletable) = about(&key);
            assert_eq!((found, deletable), (class, false), "{key}");
        }
    }

    #[test]
    fn a_cache_without_a_tenant_or_with_a_denied_word_is_refused_with_the_reason() {
        let known = classify(b"ledger_settings:{o:l}");
        assert_eq!(known.class.id, "ledger.settings");
        assert_eq!(known.refusal, Some(Refusal::NoTenant));
        let known = classify(b"tenant:a:fetcher:schema:block:1");
        assert_eq!(known.refusal, Some(Refusal::Denied("lock:")));
        assert!(!known.is_deletable());
    }

    #[test]
    fn any_bytes_and_any_length_are_taken() {
        let long = format!("tenant:{ID}:fetcher:schema:{}", "x".repeat(100_000));
        assert!(about(&long).2);
        let mut binary = format!("tenant:{ID}:fetcher:schema:").into_bytes();
        binary.extend([0xff, 0x00, 0xfe]);
        assert!(classify(&binary).is_deletable());
        assert!(!classify(b"tenant:\xff\xfe:fetcher:schema:x").is_deletable());
        let tenant = "a".repeat(257);
        assert!(!about(&format!("tenant:{tenant}:fetcher:schema:x")).2);
    }

    #[test]
    fn every_class_recognises_its_own_pattern_and_ids_are_unique() {
        let mut ids = std::collections::HashSet::new();
        for class in CLASSES {
            assert!(ids.insert(class.id), "{} stands twice", class.id);
            let key = class.pattern().replace("<tenant>", ID).replace('*', "app");
            assert_eq!(classify(key.as_bytes()).class.id, class.id, "{key}");
        }
    }

    /// Pieces of real keys, so that random keys come close to what is dangerous.
    fn piece() -> impl Strategy<Value = String> {
        let words = DENIED.iter().copied().chain([
            "tenant:",
            ID,
            DASHED,
            ":",
            "{",
            "}",
            "ledger_settings:{",
            "accounting_routes:{",
            "fee_packages:{",
            "fetcher:schema:",
            "data_source_details:",
            "matcher:dashboard:",
            "m2m:",
            ":credentials",
            "matcher:discovery:schema:v2:",
            "tenant-connections:",
            "ledger",
        ]);
        prop_oneof![
            4 => prop::sample::select(words.map(str::to_owned).collect::<Vec<_>>()),
            1 => ".{0,6}",
        ]
    }

    proptest! {
        #[test]
        fn no_key_with_a_denied_word_is_ever_deletable(
            before in prop::collection::vec(piece(), 0..6),
            word in prop::sample::select(DENIED),
            after in prop::collection::vec(piece(), 0..6),
        ) {
            let key = format!("{}{word}{}", before.concat(), after.concat());
            prop_assert!(!classify(key.as_bytes()).is_deletable(), "{key}");
        }

        #[test]
        fn what_is_deletable_is_on_the_allow_list(pieces in prop::collection::vec(piece(), 0..8)) {
            let key = pieces.concat();
            if classify(key.as_bytes()).is_deletable() {
                prop_assert!(allowed(&key), "{key}");
            }
        }
    }

    /// The allow-list once more, written apart from the map.
    fn allowed(key: &str) -> bool {
        let tenant = |id: &str| !id.is_empty() && !id.contains(':');
        if let Some((id, rest)) = key.strip_prefix("tenant:").and_then(|k| k.split_once(':')) {
            let braced = ["ledger_settings:{", "accounting_routes:{", "fee_packages:{"];
            let open = [
                "fetcher:schema:",
                "data_source_details:",
                "matcher:dashboard:",
            ];
            return tenant(id)
                && (braced.iter().any(|p| rest.starts_with(p)) && rest.ends_with('}')
                    || open.iter().any(|p| rest.starts_with(p))
                    || rest.starts_with("m2m:") && rest.ends_with(":credentials"));
        }
        ["matcher:discovery:schema:v2:", "tenant-connections:"]
            .iter()
            .filter_map(|before| key.strip_prefix(before)?.split_once(':'))
            .any(|(id, _)| tenant(id))
    }
}
