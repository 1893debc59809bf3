//! Fills a Redis as products do, and takes a picture of everything in it.
//!
//! The keys are written out from the products' key tables, apart from the map that the product
//! uses, so that a mistake in one of them shows.

use std::collections::BTreeMap;

use lerianctl::link::redis::{Deployment, RedisEndpoint};
use redis::{Pipeline, Value};

/// A key, whose it is, and whether it is a cache.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) key: Vec<u8>,
    pub(crate) kind: &'static str,
    pub(crate) expires: bool,
    /// Number of the tenant; none for keys of the deployment.
    pub(crate) tenant: Option<usize>,
    /// Service when it is a cache that a flush deletes.
    pub(crate) cache_of: Option<&'static str>,
}

/// Name, bytes of the value as `DUMP` gives them, and whether it expires.
pub(crate) type Picture = BTreeMap<Vec<u8>, (Vec<u8>, bool)>;

const ORG: &str = "019a1f7e-0000-7000-8000-000000000001";
const LEDGER: &str = "019a1f7e-0000-7000-8000-000000000002";

/// Caches after the tenant's prefix.
const CACHES: &[(&str, &str)] = &[
    ("ledger", "ledger_settings:{ORG:LEDGER}"),
    (
        "ledger",
        "accounting_routes:{ORG:LEDGER:019a1f7e-0000-7000-8000-00000000000a}",
    ),
    ("ledger", "fee_packages:{ORG:LEDGER}"),
    ("fetcher", "fetcher:schema:postgres:main"),
    ("reporter", "data_source_details:midaz_onboarding"),
    ("matcher", "matcher:dashboard:volume:2026-06"),
    ("matcher", "m2m:fetcher:ORG:credentials"),
];

/// Everything else after the tenant's prefix: type, whether it expires, name.
const KEPT: &[(&str, bool, &str)] = &[
    (
        "string",
        true,
        "balance:{transactions}:ORG:LEDGER:@cash#default",
    ),
    (
        "string",
        true,
        "balance:{transactions}:ORG:LEDGER:@fees#overdraft",
    ),
    ("zset", false, "schedule:{transactions}:balance-sync-v2"),
    ("zset", false, "schedule:{transactions}:balance-sync"),
    (
        "string",
        true,
        "lock:{transactions}:balance-sync:tenant:x:balance:{transactions}:o:l:a#b",
    ),
    ("hash", false, "backup_queue:{transactions}"),
    ("hash", false, "backup_queue:{transactions}:attempts"),
    (
        "string",
        true,
        "wb_transaction:{ORG:LEDGER:019a1f7e-0000-7000-8000-00000000000b}",
    ),
    ("string", true, "idempotency:{ORG:LEDGER:order-17}"),
    (
        "string",
        true,
        "idempotency_reverse:{ORG:LEDGER}:019a1f7e-0000-7000-8000-00000000000b",
    ),
    ("string", true, "idempotency:crm:holder:ORG:k1"),
    ("string", true, "idempotency:crm:instrument:ORG:h:k1"),
    (
        "string",
        true,
        "pending_transaction:{transaction}:ORG:LEDGER:t1",
    ),
    ("string", true, "redis_consumer_lock:{ORG:LEDGER}:t1"),
    ("string", true, "idempotency:2f7c"),
    ("string", true, "idempotency:template:2f7c"),
    ("string", false, "matcher:dedupe:context:2f7c"),
    ("string", true, "matcher:callback:ratelimit:x"),
    ("string", true, "ratelimit:gold:x"),
    ("string", true, "pacing:bank"),
    ("string", true, "lock:mine"),
    ("string", false, "something:nobody:knows"),
    ("string", false, "ledger_settings:ORG:LEDGER"),
    ("string", false, "fetcher:schema:lock:held"),
    ("hash", false, "ledger_settings:{of:another:type}"),
    ("list", false, "fetcher:schema:of:another:type"),
    (
        "string",
        false,
        "tenant:PREFIX:ledger_settings:{ORG:LEDGER}",
    ),
];

/// Keys with the tenant inside.
const KEPT_INSIDE: &[(&str, bool, &str)] = &[
    ("string", true, "matcher:idempotency:PREFIX:k"),
    ("string", true, "matcher:matchrun:lock:PREFIX:c"),
    ("string", true, "idempotency:PREFIX:k"),
    ("list", false, "dlq:PREFIX:payments"),
];

/// Keys of the deployment, and keys that tell of no tenant.
const GLOBAL: &[(&str, bool, &str)] = &[
    ("string", true, "lock:{transactions}:backup-consumer-cycle"),
    ("string", false, "matcher:scheduler:schedule:1"),
    ("string", false, "matcher:discovery:sync"),
    ("string", false, "matcher:fetcher_bridge:cycle"),
    ("string", false, "matcher:fetcher_bridge:custody_retention"),
    ("string", false, "matcher:fetcher_bridge:last_tick_at"),
    ("string", false, "matcher:archival:lock"),
    (
        "set",
        false,
        "tenant-manager:tenants:active:production:ledger",
    ),
    ("list", false, "dlq:payments"),
    ("string", true, "ratelimit:gold:1"),
    ("string", true, "app:ratelimit:gold:1"),
    ("string", true, "203.0.113.7"),
    ("string", false, "ledger_settings:{ORG:LEDGER}"),
    ("string", false, "fee_packages:{ORG:LEDGER}"),
    ("string", false, "tenant::ledger_settings:{ORG:LEDGER}"),
    ("string", false, "tenant:"),
    ("string", false, "TENANT:acme:ledger_settings:{ORG:LEDGER}"),
    ("string", false, "matcher:discovery:schema:v2"),
];

/// Returns the id of a tenant: UUIDs that share a beginning, and ids that begin one another.
pub(crate) fn tenant(number: usize) -> String {
    match number {
        0 => "acme".to_owned(),
        1 => "acme2".to_owned(),
        2 => "acme-2".to_owned(),
        3 => "ACME".to_owned(),
        even if even % 2 == 0 => format!("{even:032x}"),
        odd => format!("7b0e1c5a9f3d4b62a1c8{odd:012x}"),
    }
}

/// Returns the ways in which products spell the tenant's id.
fn spellings(number: usize) -> Vec<String> {
    let id = tenant(number);
    let dashed = uuid::Uuid::parse_str(&id).map(|id| id.hyphenated().to_string());
    match (dashed, number % 4) {
        (Ok(dashed), 0) => vec![id, dashed.to_uppercase()],
        (Ok(dashed), 1) => vec![id, dashed],
        (Ok(dashed), 2) => vec![dashed],
        _ => vec![id],
    }
}

/// Returns every kind of key for `tenants` tenants.
pub(crate) fn samples(tenants: usize) -> Vec<Sample> {
    let mut all = Vec::new();
    let named = |text: &str| text.replace("ORG", ORG).replace("LEDGER", LEDGER);
    for number in 0..tenants {
        for id in spellings(number) {
            let mut add = |key: Vec<u8>, kind, expires, cache_of| {
                all.push(Sample {
                    key,
                    kind,
                    expires,
                    tenant: Some(number),
                    cache_of,
                });
            };
            for (service, rest) in CACHES {
                let key = format!("tenant:{id}:{}", named(rest));
                add(key.into_bytes(), "string", number % 2 == 0, Some(*service));
            }
            let mut binary = format!("tenant:{id}:data_source_details:").into_bytes();
            binary.extend([0, 0xff, b'*', b'\r', b'\n', 0xfe]);
            add(binary, "string", true, Some("reporter"));
            let long = format!("tenant:{id}:fetcher:schema:{}", "x".repeat(2_000));
            add(long.into_bytes(), "string", true, Some("fetcher"));
            let inside = format!("matcher:discovery:schema:v2:{id}:connection-1");
            add(inside.into_bytes(), "string", true, Some("matcher"));
            for service in ["ledger", "tracer"] {
                let key = format!("tenant-connections:{id}:{service}");
                add(key.into_bytes(), "string", true, Some(service));
            }
            for (kind, expires, rest) in KEPT {
                let key = format!("tenant:{id}:{}", named(rest).replace("PREFIX", &id));
                add(key.into_bytes(), kind, *expires, None);
            }
            for (kind, expires, key) in KEPT_INSIDE {
                add(
                    key.replace("PREFIX", &id).into_bytes(),
                    kind,
                    *expires,
                    None,
                );
            }
        }
    }
    for (kind, expires, key) in GLOBAL {
        all.push(Sample {
            key: named(key).into_bytes(),
            kind,
            expires: *expires,
            tenant: None,
            cache_of: None,
        });
    }
    all
}

/// Writes the keys, each on the server that owns it.
pub(crate) async fn fill(endpoint: &RedisEndpoint, samples: &[Sample]) {
    let mut deployment = endpoint.primaries().await.unwrap();
    let mut left: Vec<&Sample> = samples.iter().collect();
    for node in deployment.nodes_mut() {
        let mut elsewhere = Vec::new();
        for chunk in left.chunks(2_000) {
            let mut commands = Pipeline::new();
            for sample in chunk {
                let key = sample.key.as_slice();
                match sample.kind {
                    "string" => commands.cmd("SET").arg(key).arg("a value of some length"),
                    "hash" => commands.cmd("HSET").arg(key).arg("field").arg("value"),
                    "zset" => commands
                        .cmd("ZADD")
                        .arg(key)
                        .arg(1_750_000_000)
                        .arg("member"),
                    "set" => commands.cmd("SADD").arg(key).arg("member"),
                    "list" => commands.cmd("RPUSH").arg(key).arg("message"),
                    other => panic!("no such type: {other}"),
                };
            }
            let answers = node.session.pipeline(&commands).await.unwrap();
            let mut expiries = Pipeline::new();
            for (sample, answer) in chunk.iter().zip(answers) {
                match answer {
                    Value::ServerError(error) if error.code() == "MOVED" => elsewhere.push(*sample),
                    Value::ServerError(error) => panic!("{error}"),
                    _ if sample.expires => {
                        expiries
                            .cmd("PEXPIRE")
                            .arg(sample.key.as_slice())
                            .arg(3_600_000);
                    }
                    _ => {}
                }
            }
            if !expiries.is_empty() {
                node.session.pipeline(&expiries).await.unwrap();
            }
        }
        left = elsewhere;
    }
    assert!(left.is_empty(), "no server took {} keys", left.len());
}

/// Takes a picture of every key on every server.
pub(crate) async fn picture(endpoint: &RedisEndpoint) -> Picture {
    let mut deployment: Deployment = endpoint.primaries().await.unwrap();
    let mut picture = Picture::new();
    for node in deployment.nodes_mut() {
        let session = &mut node.session;
        let keys: Vec<Vec<u8>> = session.query(redis::cmd("KEYS").arg("*")).await.unwrap();
        for chunk in keys.chunks(2_000) {
            let mut commands = Pipeline::new();
            for key in chunk {
                commands.cmd("DUMP").arg(key).cmd("PTTL").arg(key);
            }
            let answers = session.pipeline(&commands).await.unwrap();
            for (key, answer) in chunk.iter().zip(answers.chunks_exact(2)) {
                let [Value::BulkString(dump), Value::Int(ttl)] = answer else {
                    panic!("{answer:?}");
                };
                picture.insert(key.clone(), (dump.clone(), *ttl > 0));
            }
        }
    }
    picture
}

/// Returns `before` without the keys of the samples that `goes` accepts.
pub(crate) fn without(
    before: &Picture,
    samples: &[Sample],
    goes: impl Fn(&Sample) -> bool,
) -> Picture {
    let mut after = before.clone();
    for sample in samples.iter().filter(|sample| goes(sample)) {
        assert!(after.remove(&sample.key).is_some(), "it was there");
    }
    after
}
