//! A flush deletes exactly the caches that were chosen, on every kind of deployment.

use std::sync::Mutex;

use lerianctl::cache::{self, CacheError, Flush, Kept, KeyTenant, Progress, Scope, Tally, Verdict};
use lerianctl::link::LinkError;
use lerianctl::link::redis::RedisEndpoint;
use rustix::process::Signal;

use super::cache_keyspace::{Picture, Sample, fill, picture, samples, tenant, without};
use super::support::{Redis, RedisCluster};

fn quiet(_: Progress) {}

fn scope_of(tenants: &[usize]) -> Scope {
    let ids = tenants
        .iter()
        .map(|n| tenant(*n).parse::<KeyTenant>().unwrap());
    Scope::everything().tenants(ids)
}

async fn flush(endpoint: &RedisEndpoint, scope: &Scope) -> Flush {
    let mut deployment = endpoint.primaries().await.unwrap();
    cache::flush(&mut deployment, scope, &quiet).await
}

async fn plan(endpoint: &RedisEndpoint, scope: &Scope) -> Tally {
    let mut deployment = endpoint.primaries().await.unwrap();
    let plan = cache::plan_flush(&mut deployment, scope, &quiet).await;
    assert!(
        plan.nodes.iter().all(|node| node.error.is_none()),
        "{plan:?}"
    );
    plan.total()
}

/// Plans, flushes, and compares everything that is left with what should be; returns it.
async fn prove(
    endpoint: &RedisEndpoint,
    samples: &[Sample],
    before: Picture,
    scope: &Scope,
    chosen: impl Fn(&Sample) -> bool,
) -> Picture {
    let goes = |sample: &Sample| sample.cache_of.is_some() && chosen(sample);
    let count = samples.iter().filter(|sample| goes(sample)).count() as u64;
    assert_ne!(count, 0, "the test chooses something");

    let planned = plan(endpoint, scope).await;
    assert_eq!(planned.found.values().sum::<u64>(), count);
    assert_eq!(planned.deleted.len(), 0);

    let done = flush(endpoint, scope).await;
    assert!(!done.moving);
    assert!(
        done.nodes.iter().all(|node| node.error.is_none()),
        "{done:?}"
    );
    let done = done.total();
    assert_eq!(done.deleted, planned.found);
    assert_eq!(done.kept, planned.kept);
    let after = picture(endpoint).await;
    let expected = without(&before, samples, goes);
    let left = after.keys().find(|key| !expected.contains_key(*key));
    assert_eq!(
        left.map(|key| cache::printable(key)),
        None,
        "a cache is left"
    );
    let lost = expected.keys().find(|key| !after.contains_key(*key));
    assert_eq!(lost.map(|key| cache::printable(key)), None, "LOST");
    assert!(after == expected, "a value or an expiry was changed");

    let again = flush(endpoint, scope).await.total();
    assert_eq!(again.deleted.values().sum::<u64>(), 0);
    after
}

/// The four choices, on a full keyspace.
async fn prove_all(endpoint: &RedisEndpoint) {
    let samples = samples(100);
    fill(endpoint, &samples).await;
    let mut now = picture(endpoint).await;
    for number in [0, 1, 2, 3, 4, 57, 58] {
        let scope = scope_of(&[number]);
        now = prove(endpoint, &samples, now, &scope, |s| {
            s.tenant == Some(number)
        })
        .await;
    }
    let some = [6, 7, 8, 99];
    now = prove(endpoint, &samples, now, &scope_of(&some), |s| {
        some.iter().any(|number| s.tenant == Some(*number))
    })
    .await;
    let scope = scope_of(&[9]).service("matcher".parse().unwrap());
    prove(endpoint, &samples, now, &scope, |s| {
        s.tenant == Some(9) && s.cache_of == Some("matcher")
    })
    .await;

    fill(endpoint, &samples).await;
    let mut now = picture(endpoint).await;
    for service in ["ledger", "tracer", "fetcher"] {
        let scope = Scope::everything().service(service.parse().unwrap());
        now = prove(endpoint, &samples, now, &scope, |s| {
            s.cache_of == Some(service)
        })
        .await;
    }

    fill(endpoint, &samples).await;
    let now = picture(endpoint).await;
    prove(endpoint, &samples, now, &Scope::everything(), |_| true).await;
}

#[tokio::test]
async fn a_flush_deletes_exactly_the_chosen_caches() {
    let redis = Redis::private();
    prove_all(&redis.endpoint()).await;
}

#[tokio::test]
async fn a_flush_deletes_exactly_the_chosen_caches_on_every_node_of_a_cluster() {
    let cluster = RedisCluster::private();
    let seed = &cluster.endpoints()[1];
    prove_all(seed).await;

    let samples = samples(20);
    fill(seed, &samples).await;
    let done = flush(seed, &Scope::everything()).await;
    assert_eq!(done.nodes.len(), 3);
    assert!(done.nodes.iter().all(|node| !node.tally.deleted.is_empty()));
}

#[tokio::test]
async fn what_is_kept_is_reported_with_the_reason() {
    let redis = Redis::private();
    fill(&redis.endpoint(), &samples(8)).await;
    let kept = flush(&redis.endpoint(), &scope_of(&[3])).await.total();
    let count = |class: &str, why: Kept| {
        let class = cache::class(class).unwrap().id;
        kept.kept.get(&(class, why)).copied().unwrap_or(0)
    };
    assert_eq!(count("ledger.balance", Kept::Verdict(Verdict::Never)), 2);
    assert_eq!(
        count("ledger.backup-queue", Kept::Verdict(Verdict::Never)),
        1
    );
    assert_eq!(count("ledger.settings", Kept::Type("hash".into())), 1);
    assert_eq!(count("fetcher.schema", Kept::Type("list".into())), 1);
    let denied = Kept::Refused(cache::Refusal::Denied(":lock"));
    assert_eq!(count("fetcher.schema", denied), 1);
    assert_eq!(
        count("unclassified", Kept::Verdict(Verdict::Unclassified)),
        2
    );
    assert_eq!(
        count("prefixed-twice", Kept::Verdict(Verdict::Unclassified)),
        1
    );
    let samples = kept.samples.join("\n");
    assert!(
        samples.contains("tenant:ACME:something:nobody:knows"),
        "{samples}"
    );
    assert!(
        samples.contains("ledger_settings:{of:another:type}"),
        "{samples}"
    );
}

#[tokio::test]
async fn a_census_counts_every_key_once() {
    let cluster = RedisCluster::private();
    let seed = &cluster.endpoints()[0];
    let samples = samples(30);
    fill(seed, &samples).await;
    let mut deployment = seed.primaries().await.unwrap();

    let all = cache::census(&mut deployment, &Scope::everything(), &quiet)
        .await
        .unwrap();
    assert_eq!(all.keys, samples.len() as u64);
    assert_eq!(all.rows.iter().map(|row| row.keys).sum::<u64>(), all.keys);
    assert_eq!(all.beyond, 0);
    let rows = all.rows.iter().filter(|row| row.is_deletable());
    // A census reads names alone, so a wrong type looks like a cache to it.
    let caches = samples.iter().filter(|sample| {
        let key = String::from_utf8_lossy(&sample.key);
        sample.cache_of.is_some() || key.contains("of:another:type")
    });
    assert_eq!(rows.map(|row| row.keys).sum::<u64>(), caches.count() as u64);
    assert!(all.misspelled.contains_key(&tenant(5).parse().unwrap()));
    assert!(!all.misspelled.contains_key(&tenant(7).parse().unwrap()));

    let one = cache::census(&mut deployment, &scope_of(&[5]), &quiet)
        .await
        .unwrap();
    let of_five = samples.iter().filter(|s| s.tenant == Some(5)).count();
    let counted: u64 = one.rows.iter().map(|row| row.keys).sum();
    assert_eq!(counted, of_five as u64);
}

/// Enough keys for several steps of a scan.
async fn fill_many(endpoint: &RedisEndpoint) -> Vec<Sample> {
    let samples: Vec<_> = (0..60_000)
        .map(|number| Sample {
            key: format!("tenant:acme:fetcher:schema:{number}").into_bytes(),
            kind: "string",
            expires: false,
            tenant: Some(0),
            cache_of: Some("fetcher"),
        })
        .collect();
    fill(endpoint, &samples).await;
    samples
}

#[tokio::test]
async fn a_server_that_dies_half_way_is_reported_with_what_was_deleted() {
    let redis = Redis::private();
    fill_many(&redis.endpoint()).await;
    let mut deployment = redis.endpoint().primaries().await.unwrap();
    let seen = Mutex::new(Vec::new());
    let process = redis.process().clone();
    let done = cache::flush(&mut deployment, &scope_of(&[0]), &|progress| {
        if progress.deleted > 0 {
            process.signal(Signal::KILL);
        }
        seen.lock().unwrap().push(progress);
    })
    .await;
    let [node] = &done.nodes[..] else {
        panic!("{done:?}");
    };
    let Some(CacheError::Link(LinkError::Unreachable { .. })) = &node.error else {
        panic!("{:?}", node.error);
    };
    let deleted: u64 = node.tally.deleted.values().sum();
    assert!((1..60_000).contains(&deleted), "{deleted}");
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().all(|p| p.keys == 60_000 && p.scanned <= p.keys));
    assert_eq!(seen.last().unwrap().deleted, deleted);
}

#[tokio::test]
async fn a_dropped_flush_leaves_only_right_deletions_and_can_be_repeated() {
    let redis = Redis::private();
    let endpoint = redis.endpoint();
    let others = samples(10);
    fill(&endpoint, &others).await;
    let before = picture(&endpoint).await;
    fill_many(&endpoint).await;
    let mut deployment = endpoint.primaries().await.unwrap();
    let scope = scope_of(&[0]).service("fetcher".parse().unwrap());
    let stop = tokio::sync::Notify::new();
    let progress = |progress: Progress| {
        if progress.deleted > 0 {
            stop.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = stop.notified() => {}
        done = cache::flush(&mut deployment, &scope, &progress) => panic!("{done:?}"),
    }
    let left = plan(&endpoint, &scope).await.found.values().sum::<u64>();
    assert!((1..60_000).contains(&left), "{left}");
    flush(&endpoint, &scope).await;
    let expected = without(&before, &others, |sample| {
        sample.tenant == Some(0) && sample.cache_of == Some("fetcher")
    });
    assert!(picture(&endpoint).await == expected);
}

async fn user(redis: &RedisEndpoint, rules: &[&str]) -> RedisEndpoint {
    let mut command = redis::cmd("ACL");
    command
        .arg("SETUSER")
        .arg("operator")
        .arg("reset")
        .arg("on")
        .arg(">sesame")
        .arg(rules);
    let mut session = redis.connect().await.unwrap();
    session.query::<()>(&command).await.unwrap();
    RedisEndpoint {
        username: Some("operator".into()),
        password: Some("sesame".to_owned().into()),
        ..redis.clone()
    }
}

#[tokio::test]
async fn a_user_without_the_rights_gets_a_clear_error_and_deletes_nothing() {
    let redis = Redis::private();
    let admin = redis.endpoint();
    fill(&admin, &samples(6)).await;
    let before = picture(&admin).await;
    for (rules, named) in [
        (&["~*", "-@all", "+dbsize", "+type", "+unlink"][..], "scan"),
        (&["~*", "-@all", "+dbsize", "+scan", "+unlink"], "type"),
        (&["~*", "-@all", "+dbsize", "+scan", "+type"], "unlink"),
        (
            &["~other:*", "-@all", "+dbsize", "+scan", "+type", "+unlink"],
            "key",
        ),
    ] {
        let endpoint = user(&admin, rules).await;
        let done = flush(&endpoint, &scope_of(&[0])).await;
        let error = done.nodes[0].error.as_ref().unwrap().to_string();
        assert!(error.contains("NOPERM") && error.contains(named), "{error}");
        assert!(!error.contains("sesame"));
        assert!(picture(&admin).await == before, "{rules:?}");
    }
    let enough = &["~*", "-@all", "+dbsize", "+scan", "+type", "+unlink"];
    let endpoint = user(&admin, enough).await;
    let done = flush(&endpoint, &scope_of(&[0])).await;
    assert!(done.nodes[0].error.is_none(), "{done:?}");
    assert_ne!(done.total().deleted.len(), 0);
}

#[tokio::test]
async fn a_scope_without_tenants_deletes_nothing() {
    let redis = Redis::private();
    fill(&redis.endpoint(), &samples(4)).await;
    let before = picture(&redis.endpoint()).await;
    let done = flush(&redis.endpoint(), &scope_of(&[])).await.total();
    assert_eq!(done.deleted.len(), 0);
    assert!(picture(&redis.endpoint()).await == before);
}
