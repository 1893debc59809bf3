//! Where a product connects as a tenant: two tiers of cache before the Tenant Manager, on a real
//! Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lerianctl::client::{
    ClientSettings, ErrorKind, Pair, Resolver, ResolverSettings, RetryPolicy, TenantManager, Tier,
};
use lerianctl::contract::{ServiceName, TenantId};
use lerianctl::link::redis::RedisEndpoint;
use lerianctl::secret::Secret;
use serde_json::json;

use crate::support::{Play, Redis, RedisCluster, Script};

const PASSWORD: &str = "tenant-password";

/// A Tenant Manager that serves every tenant until told otherwise.
struct Manager {
    script: Script,
    status: Arc<AtomicU16>,
}

impl Manager {
    fn start() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&status);
        let script = Script::answer(move |seen, _| match answer.load(Ordering::SeqCst) {
            200 => Play::json(200, config(seen.line.split('/').nth(3).unwrap())),
            403 => Play::json(403, json!({"error": "x", "status": "suspended"})),
            status => Play::json(status, json!({"error": "x"})),
        });
        Self { script, status }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.script.seen().len()
    }

    fn client(&self, key: &str) -> TenantManager {
        let url = self.script.url().parse().unwrap();
        let mut settings = ClientSettings::new(url, Secret::new(key));
        settings.retry = RetryPolicy {
            times: 0,
            ..RetryPolicy::default()
        };
        settings.breaker.threshold = 2;
        TenantManager::new(settings).unwrap()
    }

    fn resolver(
        &self,
        settings: ResolverSettings,
        shared: impl Into<Option<RedisEndpoint>>,
    ) -> Resolver {
        Resolver::new(self.client("api-key"), settings, shared.into())
    }
}

fn config(tenant: &str) -> serde_json::Value {
    json!({"id": tenant, "tenantSlug": "acme", "databases": {"onboarding": {"postgresql": {
        "host": "db", "port": 5432, "database": "acme", "username": "acme", "password": PASSWORD}}}})
}

/// A tenant of this test alone.
fn ids() -> (TenantId, ServiceName) {
    (TenantId::generate(), "ledger".parse().unwrap())
}

fn key((tenant, service): &(TenantId, ServiceName)) -> String {
    let (tenant, service) = (tenant.clone(), service.clone());
    Pair { tenant, service }.redis_key()
}

/// As in production, but without checks in the background.
fn calm() -> ResolverSettings {
    ResolverSettings {
        check_interval: Duration::ZERO,
        ..ResolverSettings::default()
    }
}

fn shared() -> RedisEndpoint {
    Redis::shared().endpoint()
}

async fn ask<T: redis::FromRedisValue>(command: &redis::Cmd) -> T {
    let endpoint = Redis::shared().endpoint();
    endpoint
        .connect()
        .await
        .unwrap()
        .query(command)
        .await
        .unwrap()
}

async fn stored(key: &str) -> Option<String> {
    ask(redis::cmd("GET").arg(key)).await
}

#[tokio::test]
async fn each_tier_answers_for_the_one_behind_it() {
    let manager = Manager::start();
    let pair = ids();
    let first = manager.resolver(calm(), shared());
    assert_eq!(
        first.resolve(&pair.0, &pair.1).await.unwrap().tier,
        Tier::Live
    );
    let again = first.resolve(&pair.0, &pair.1).await.unwrap();
    assert_eq!(again.tier, Tier::Memory);
    assert_eq!(first.in_memory().len(), 1);

    // Another process with the same key.
    let second = manager.resolver(calm(), shared());
    let found = second.resolve(&pair.0, &pair.1).await.unwrap();
    assert_eq!(found.tier, Tier::Shared);
    assert_eq!(
        found.config.databases["onboarding"]
            .postgresql
            .as_ref()
            .unwrap()
            .password,
        PASSWORD
    );
    assert!(
        found.age >= again.age,
        "its age counts from the live answer"
    );
    assert_eq!(
        second.resolve(&pair.0, &pair.1).await.unwrap().tier,
        Tier::Memory
    );
    assert_eq!(manager.requests(), 1);
}

#[tokio::test]
async fn what_is_shared_is_sealed_and_expires() {
    let manager = Manager::start();
    let pair = ids();
    manager
        .resolver(calm(), shared())
        .resolve(&pair.0, &pair.1)
        .await
        .unwrap();
    let key = key(&pair);
    assert_eq!(key, format!("tenant-connections:{}:ledger", pair.0));
    let value = stored(&key).await.unwrap();
    for text in [PASSWORD, "acme", pair.0.as_str()] {
        assert!(!value.contains(text), "{value}");
    }
    let left: i64 = ask(redis::cmd("PTTL").arg(&key)).await;
    assert!((1..=120_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_ttl_of_zero_disables_both_tiers() {
    let manager = Manager::start();
    let pair = ids();
    let settings = ResolverSettings {
        ttl: Duration::ZERO,
        ..calm()
    };
    let resolver = manager.resolver(settings, shared());
    for _ in 0..2 {
        assert_eq!(
            resolver.resolve(&pair.0, &pair.1).await.unwrap().tier,
            Tier::Live
        );
    }
    assert_eq!(manager.requests(), 2);
    assert!(resolver.in_memory().is_empty());
    assert_eq!(stored(&key(&pair)).await, None);
}

#[tokio::test]
async fn nothing_is_served_beyond_its_ttl() {
    // On a slow machine the first TTL can be over before the second process looks.
    for ttl in [300, 1_000, 5_000].map(Duration::from_millis) {
        let manager = Manager::start();
        let pair = ids();
        let settings = ResolverSettings { ttl, ..calm() };
        let first = manager.resolver(settings, shared());
        first.resolve(&pair.0, &pair.1).await.unwrap();
        let told = tokio::time::Instant::now();
        tokio::time::sleep(ttl / 2).await;
        let second = manager.resolver(settings, shared());
        if second.resolve(&pair.0, &pair.1).await.unwrap().tier != Tier::Shared {
            continue;
        }
        // It inherits the age, so it does not keep the answer longer than the first.
        tokio::time::sleep_until(told + ttl).await;
        manager.answers(500);
        for resolver in [first, second] {
            let error = resolver.resolve(&pair.0, &pair.1).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(resolver.in_memory().is_empty());
        }
        return;
    }
    panic!("the shared tier never answered");
}

#[tokio::test]
async fn a_refused_tenant_leaves_both_tiers() {
    for status in [403, 404] {
        let manager = Manager::start();
        let pair = ids();
        let resolver = manager.resolver(calm(), shared());
        resolver.resolve(&pair.0, &pair.1).await.unwrap();
        assert!(stored(&key(&pair)).await.is_some());
        manager.answers(status);
        let error = resolver.refresh(&pair.0, &pair.1).await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(stored(&key(&pair)).await, None);
        let error = resolver.resolve(&pair.0, &pair.1).await.unwrap_err();
        assert_eq!(error.status(), Some(status), "nothing is left to serve");
    }
}

#[tokio::test]
async fn a_suspension_that_no_event_told_of_is_noticed_in_the_background() {
    let manager = Manager::start();
    let pair = ids();
    let settings = ResolverSettings {
        check_interval: Duration::from_millis(20),
        ..calm()
    };
    let resolver = manager.resolver(settings, shared());
    resolver.resolve(&pair.0, &pair.1).await.unwrap();
    manager.answers(403);
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    let error = loop {
        assert!(
            tokio::time::Instant::now() < patience,
            "it is served for ever"
        );
        match resolver.resolve(&pair.0, &pair.1).await {
            Ok(found) => assert_ne!(found.tier, Tier::Live),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(
        error.kind,
        ErrorKind::Suspended {
            status: "suspended".into()
        }
    );
    assert_eq!(stored(&key(&pair)).await, None);
}

#[tokio::test]
async fn an_answer_that_cannot_be_deleted_is_not_served_either() {
    let redis = Redis::private_with(&["rename-command DEL \"\""]);
    let manager = Manager::start();
    let pair = ids();
    let first = manager.resolver(calm(), Some(redis.endpoint()));
    first.resolve(&pair.0, &pair.1).await.unwrap();
    let second = manager.resolver(calm(), Some(redis.endpoint()));
    assert_eq!(
        second.resolve(&pair.0, &pair.1).await.unwrap().tier,
        Tier::Shared
    );
    manager.answers(403);
    second.refresh(&pair.0, &pair.1).await.unwrap_err();
    let error = second.resolve(&pair.0, &pair.1).await.unwrap_err();
    assert_eq!(error.status(), Some(403));
}

#[tokio::test]
async fn an_answer_that_was_altered_or_moved_is_deleted_and_not_trusted() {
    let manager = Manager::start();
    let (victim, other) = (ids(), ids());
    let writer = manager.resolver(calm(), shared());
    writer.resolve(&victim.0, &victim.1).await.unwrap();
    writer.resolve(&other.0, &other.1).await.unwrap();
    let good = stored(&key(&victim)).await.unwrap();
    let mut altered = good.clone();
    let last = altered.pop().unwrap();
    altered.push(if last == 'A' { 'B' } else { 'A' });
    let moved = stored(&key(&other)).await.unwrap();
    manager.answers(500);
    for bad in [
        altered.as_str(),
        &moved,
        "rubbish",
        "",
        "{\"config\":{}}",
        &good[..good.len() / 2],
    ] {
        let _: () = ask(redis::cmd("SET").arg(key(&victim)).arg(bad)).await;
        let reader = manager.resolver(calm(), shared());
        assert!(reader.resolve(&victim.0, &victim.1).await.is_err(), "{bad}");
        assert_eq!(stored(&key(&victim)).await, None, "{bad}");
    }
    // A key of another type is no answer either, and spoils no other.
    let _: () = ask(redis::cmd("LPUSH").arg(key(&victim)).arg("x")).await;
    let reader = manager.resolver(calm(), shared());
    assert!(reader.resolve(&victim.0, &victim.1).await.is_err());
    assert_eq!(
        reader.resolve(&other.0, &other.1).await.unwrap().tier,
        Tier::Shared
    );
    manager.answers(200);
    let found = manager
        .resolver(calm(), shared())
        .resolve(&victim.0, &victim.1)
        .await;
    assert_eq!(found.unwrap().tier, Tier::Live);
}

#[tokio::test]
async fn another_api_key_does_not_open_what_is_shared() {
    let manager = Manager::start();
    let pair = ids();
    manager
        .resolver(calm(), shared())
        .resolve(&pair.0, &pair.1)
        .await
        .unwrap();
    let before = stored(&key(&pair)).await;
    manager.answers(401);
    let stranger = Resolver::new(manager.client("another-key"), calm(), Some(shared()));
    let error = stranger.resolve(&pair.0, &pair.1).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert_eq!(
        stored(&key(&pair)).await,
        before,
        "it is not the stranger's to delete"
    );
}

#[tokio::test]
async fn many_callers_make_one_request() {
    let manager = Manager::start();
    let pair = ids();
    let resolver = manager.resolver(calm(), shared());
    // A caller that gives up does not take the others' answer with it.
    let impatient = {
        let (resolver, pair) = (resolver.clone(), pair.clone());
        tokio::spawn(async move { resolver.resolve(&pair.0, &pair.1).await })
    };
    tokio::task::yield_now().await;
    impatient.abort();
    let callers = (0..50).map(|_| resolver.resolve(&pair.0, &pair.1));
    let results = futures_util::future::join_all(callers).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(manager.requests(), 1);

    // Of two tenants, two.
    let (a, b) = (ids(), ids());
    let (a, b) = tokio::join!(resolver.resolve(&a.0, &a.1), resolver.resolve(&b.0, &b.1));
    assert_ne!(a.unwrap().config.id, b.unwrap().config.id);
    assert_eq!(manager.requests(), 3);
}

#[tokio::test]
async fn with_the_breaker_open_only_fresh_answers_are_served() {
    let manager = Manager::start();
    let (warm, cold) = (ids(), ids());
    let resolver = manager.resolver(calm(), None);
    resolver.resolve(&warm.0, &warm.1).await.unwrap();
    manager.answers(500);
    for _ in 0..2 {
        resolver.resolve(&cold.0, &cold.1).await.unwrap_err();
    }
    let error = resolver.resolve(&cold.0, &cold.1).await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::BreakerOpen { .. }),
        "{error}"
    );
    assert_eq!(
        resolver.resolve(&warm.0, &warm.1).await.unwrap().tier,
        Tier::Memory
    );
    assert_eq!(manager.requests(), 3);
}

#[tokio::test]
async fn the_connections_of_another_tenant_are_refused() {
    let script = Script::play([Play::json(200, config(TenantId::generate().as_str()))]);
    let url = script.url().parse().unwrap();
    let client = TenantManager::new(ClientSettings::new(url, Secret::new("key"))).unwrap();
    let resolver = Resolver::new(client, calm(), Some(shared()));
    let pair = ids();
    let error = resolver.resolve(&pair.0, &pair.1).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(resolver.in_memory().is_empty());
    assert_eq!(stored(&key(&pair)).await, None);
}

#[tokio::test]
async fn a_forgotten_tenant_is_asked_for_again() {
    let manager = Manager::start();
    let pair = ids();
    let resolver = manager.resolver(calm(), shared());
    resolver.resolve(&pair.0, &pair.1).await.unwrap();
    resolver.forget(&pair.0, &pair.1).await;
    assert_eq!(stored(&key(&pair)).await, None);
    assert_eq!(
        resolver.resolve(&pair.0, &pair.1).await.unwrap().tier,
        Tier::Live
    );
}

#[tokio::test]
async fn a_shared_tier_that_is_gone_costs_requests_and_nothing_else() {
    let redis = Redis::private();
    let endpoint = redis.endpoint();
    let manager = Manager::start();
    let pair = ids();
    let resolver = manager.resolver(calm(), Some(endpoint.clone()));
    resolver.resolve(&pair.0, &pair.1).await.unwrap();
    drop(redis);
    let other = ids();
    assert_eq!(
        resolver.resolve(&other.0, &other.1).await.unwrap().tier,
        Tier::Live
    );
    let fresh = manager.resolver(calm(), Some(endpoint));
    assert_eq!(
        fresh.resolve(&pair.0, &pair.1).await.unwrap().tier,
        Tier::Live
    );
}

#[tokio::test]
async fn a_cluster_is_followed_to_the_owner_of_each_key() {
    let manager = Manager::start();
    let endpoint = RedisCluster::shared().endpoints()[0].clone();
    let pairs: Vec<_> = (0..12).map(|_| ids()).collect();
    let writer = manager.resolver(calm(), Some(endpoint.clone()));
    for pair in &pairs {
        writer.resolve(&pair.0, &pair.1).await.unwrap();
    }
    let reader = manager.resolver(calm(), Some(endpoint));
    for pair in &pairs {
        assert_eq!(
            reader.resolve(&pair.0, &pair.1).await.unwrap().tier,
            Tier::Shared
        );
    }
}
