//! Every kind of Redis key that Lerian's products are known to write, as data.
//!
//! Source: the shared reference `redis-keys`, sections 3, 5 and 6. The first class that matches
//! a key wins, so narrow patterns stand before wide ones.

use serde::Serialize;

/// What may be done with a key of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A cache: what is in it can be read again from its source.
    Safe,
    /// Deleting loses nothing and gains nothing; left alone.
    Pointless,
    /// A lock, a duplicate guard or state that expires or is settled by its owner.
    No,
    /// The only copy of something, money movements included.
    Never,
    /// Not in the map.
    Unclassified,
}

impl Verdict {
    /// Returns the lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Pointless => "pointless",
            Self::No => "no",
            Self::Never => "never",
            Self::Unclassified => "unclassified",
        }
    }
}

/// Where the tenant stands in the keys of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the pattern: `tenant:<id>:`. Written without it when no tenant is at hand.
    Prefix,
    /// Inside the pattern, as the segment after this literal text.
    After(&'static str),
    /// Nowhere: the key belongs to the deployment.
    Nowhere,
}

/// A kind of key.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyClass {
    /// Stable id, `product.kind`.
    pub id: &'static str,
    /// Service that owns the keys, as the Tenant Manager names it; empty when any may.
    pub service: &'static str,
    /// Text after the tenant's place, with `*` for any run of bytes; braces are literal.
    pub(super) body: &'static str,
    pub(super) place: Place,
    /// Redis type.
    pub kind: &'static str,
    /// How long such a key lives.
    pub ttl: &'static str,
    /// What may be done with it.
    pub verdict: Verdict,
    /// What it is for, and why the verdict.
    pub reason: &'static str,
}

impl KeyClass {
    /// Returns true for keys that are the deployment's, and of no tenant, by design.
    pub fn is_of_no_tenant(&self) -> bool {
        self.id == "ledger.backup-leader"
            || (self.place == Place::Nowhere && self.id != UNCLASSIFIED.id)
    }

    /// Returns the pattern of whole keys, with `<tenant>` for the tenant id.
    pub fn pattern(&self) -> String {
        match self.place {
            Place::Prefix => format!("tenant:<tenant>:{}", self.body),
            Place::After(before) => format!("{before}<tenant>{}", self.body),
            Place::Nowhere => self.body.to_owned(),
        }
    }
}

const fn class(
    id: &'static str,
    service: &'static str,
    (place, body): (Place, &'static str),
    (kind, ttl): (&'static str, &'static str),
    verdict: Verdict,
    reason: &'static str,
) -> KeyClass {
    KeyClass {
        id,
        service,
        body,
        place,
        kind,
        ttl,
        verdict,
        reason,
    }
}

use Place::{After, Nowhere, Prefix};
use Verdict::{Never, No, Pointless, Safe};

/// Keys that are not in the map.
pub static UNCLASSIFIED: KeyClass = class(
    "unclassified",
    "",
    (Nowhere, "*"),
    ("any", "unknown"),
    Verdict::Unclassified,
    "not in the map of known keys, so never deleted",
);

/// Keys that were given the tenant's prefix twice.
pub static PREFIXED_TWICE: KeyClass = class(
    "prefixed-twice",
    "",
    (Prefix, "tenant:*"),
    ("any", "unknown"),
    Verdict::Unclassified,
    "the tenant's prefix stands twice: written by a fault of a product, read by none",
);

/// The map.
#[rustfmt::skip]
pub static CLASSES: &[KeyClass] = &[
    // Caches: the only classes that are ever deleted.
    class("ledger.settings", "ledger", (Prefix, "ledger_settings:{*}"), ("string", "300 s"), Safe,
        "cache of ledger settings"),
    class("ledger.accounting-routes", "ledger", (Prefix, "accounting_routes:{*}"), ("string", "none; 60 s for absences"), Safe,
        "cache of transaction routes"),
    class("ledger.fee-packages", "ledger", (Prefix, "fee_packages:{*}"), ("string", "none; 60 s for absences"), Safe,
        "cache of fee packages"),
    class("fetcher.schema", "fetcher", (Prefix, "fetcher:schema:*"), ("string", "5 min"), Safe,
        "cache of source schemas"),
    class("reporter.data-source", "reporter", (Prefix, "data_source_details:*"), ("string", "300 s"), Safe,
        "cache of data source details"),
    class("matcher.dashboard", "matcher", (Prefix, "matcher:dashboard:*"), ("string", "1 to 5 min"), Safe,
        "cache of dashboards"),
    class("matcher.m2m-credentials", "matcher", (Prefix, "m2m:*:credentials"), ("string", "300 s"), Safe,
        "cache of a client id and secret in clear; deleting makes the product read them again"),
    class("matcher.discovery-schema", "matcher", (After("matcher:discovery:schema:v2:"), ":*"), ("string", "minutes"), Safe,
        "cache of discovered schemas"),
    class(RESOLVER, "", (After("tenant-connections:"), ":*"), ("string", "the cache TTL"), Safe,
        "lerianctl's shared tier of resolved connections, sealed"),

    // Midaz ledger: sources of truth, guards and locks.
    class("ledger.balance", "ledger", (Prefix, "balance:{transactions}:*"), ("string", "3600 s, renewed"), Never,
        "the live balance, ahead of PostgreSQL until it is synced"),
    class("ledger.balance-sync", "ledger", (Prefix, "schedule:{transactions}:balance-sync-v2"), ("zset", "none"), Never,
        "the list of balances that are not in PostgreSQL yet"),
    class("ledger.balance-sync-old", "ledger", (Prefix, "schedule:{transactions}:balance-sync"), ("zset", "none"), Never,
        "the list of balances not in PostgreSQL yet, as before 3.6.2"),
    class("ledger.backup-queue", "ledger", (Prefix, "backup_queue:{transactions}"), ("hash", "none"), Never,
        "the only durable copy of authorised transactions until they are in PostgreSQL"),
    class("ledger.backup-attempts", "ledger", (Prefix, "backup_queue:{transactions}:attempts"), ("hash", "none"), No,
        "retry counters of the backup queue"),
    class("ledger.balance-sync-lock", "ledger", (Prefix, "lock:{transactions}:balance-sync:*"), ("string", "600 s"), No,
        "claim while a batch is written; expires alone"),
    class("ledger.backup-leader", "ledger", (Prefix, "lock:{transactions}:backup-consumer-cycle"), ("string", "1800 s"), No,
        "leader lock of the backup consumer"),
    class("ledger.pending-write", "ledger", (Prefix, "wb_transaction:{*"), ("string", "86400 s"), No,
        "a transaction that is read before its row exists"),
    class("ledger.crm-holder-idempotency", "ledger", (Prefix, "idempotency:crm:holder:*"), ("string", "300 s"), No,
        "duplicate guard"),
    class("ledger.crm-instrument-idempotency", "ledger", (Prefix, "idempotency:crm:instrument:*"), ("string", "300 s"), No,
        "duplicate guard"),
    class("ledger.idempotency", "ledger", (Prefix, "idempotency:{*"), ("string", "300 s, or the client's X-TTL"), No,
        "duplicate guard: without it a retry posts twice"),
    class("ledger.idempotency-reverse", "ledger", (Prefix, "idempotency_reverse:{*"), ("string", "as its guard"), No,
        "finds the duplicate guard of a transaction"),
    class("ledger.pending-lock", "ledger", (Prefix, "pending_transaction:{transaction}:*"), ("string", "300 s"), No,
        "mutual exclusion of commit and cancel"),
    class("ledger.consumer-lock", "ledger", (Prefix, "redis_consumer_lock:{*"), ("string", "short"), No,
        "deprecated lock"),

    // Matcher.
    class("matcher.dedupe", "matcher", (Prefix, "matcher:dedupe:*"), ("string", "configurable, may be none"), Never,
        "ingestion de-duplication: without it rows are ingested twice"),
    class("matcher.callback-limit", "matcher", (Prefix, "matcher:callback:ratelimit:*"), ("string", "its window"), Pointless,
        "rate limit"),
    class("matcher.idempotency", "matcher", (After("matcher:idempotency:"), ":*"), ("string", "7 days"), No,
        "duplicate guard"),
    class("matcher.run-lock", "matcher", (After("matcher:matchrun:lock:"), ":*"), ("string", "a lease"), No,
        "lock of a matching run"),
    class("matcher.schedule", "matcher", (Nowhere, "matcher:scheduler:schedule:*"), ("string", "a lease"), No,
        "scheduler lock of the deployment"),
    class("matcher.discovery-sync", "matcher", (Nowhere, "matcher:discovery:sync"), ("string", "a lease"), No,
        "lock of the deployment"),
    class("matcher.fetcher-bridge", "matcher", (Nowhere, "matcher:fetcher_bridge:*"), ("string", "varies"), No,
        "locks and state of the deployment"),
    class("matcher.archival-lock", "matcher", (Nowhere, "matcher:archival:lock"), ("string", "a lease"), No,
        "lock of the deployment"),

    // Reporter.
    class("reporter.template-idempotency", "reporter", (Prefix, "idempotency:template:*"), ("string", "24 h"), No,
        "duplicate guard"),

    // Features of lib-commons that any product may switch on.
    class("common.tenant-idempotency", "", (After("idempotency:"), ":*"), ("string", "7 days"), No,
        "duplicate guard of HTTP requests"),
    class("reporter.idempotency", "reporter", (Prefix, "idempotency:*"), ("string", "24 h"), No,
        "duplicate guard"),
    class("common.tenant-dead-letters", "", (After("dlq:"), ":*"), ("list", "none"), Never,
        "failed messages, kept nowhere else"),
    class("common.dead-letters", "", (Prefix, "dlq:*"), ("list", "none"), Never,
        "failed messages, kept nowhere else"),
    class("common.pacing", "", (Prefix, "pacing:*"), ("string", "1 day"), No,
        "budget spent at rate-limited institutions: without it the budget is spent again"),
    class("common.rate-limit", "", (Prefix, "ratelimit:*"), ("string", "its window"), Pointless,
        "rate limit"),
    class("common.app-rate-limit", "", (Prefix, "*:ratelimit:*"), ("string", "its window"), Pointless,
        "rate limit"),
    class("common.lock", "", (Prefix, "lock:*"), ("string", "a lease"), No,
        "lock"),

    // Tenant Manager.
    class("tenant-manager.active-tenants", "", (Nowhere, "tenant-manager:tenants:active:*"), ("set", "none"), No,
        "list of tenants that an older Tenant Manager owns"),
];

/// Id of the class of `tenant-connections:<tenant>:<service>`, whose last segment is the service.
pub(super) const RESOLVER: &str = "resolver.connections";

/// Text that no key may hold to be deleted, whatever its class.
///
/// Asserted before every deletion, independently of the map: it must hold even where the map
/// is wrong.
pub const DENIED: &[&str] = &[
    "balance:{",
    "schedule:{",
    "backup_queue:{",
    "wb_transaction:",
    "idempotency",
    "pending_transaction:",
    "lock:",
    ":lock",
    "_lock:",
    "dedupe",
    "dlq:",
    "pacing:",
    "matchrun",
    "transaction:{",
];
