//! Whatever happens at the same time – requests, callers that give up, evictions, rotations of the
//! pools – a handler sees its own tenant's database and no other.

use std::time::Duration;

use lerianctl::client::Resolver;
use lerianctl::contract::TenantId;
use lerianctl::middleware::{PoolSettings, Tenancy, TenancySettings};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::middleware_kit::{Stage, calm, expected, router, wish};
use crate::support::block_on;

#[derive(Debug, Clone)]
enum Step {
    /// A request of a tenant that leaves something in its session, given up after some time.
    Ask(usize, u8, Option<u64>),
    Evict(usize),
    Reload(usize),
    Recheck(usize),
    Wait(u64),
}

const TENANTS: usize = 5;

/// What a handler may leave behind.
const LEFT: [&str; 5] = [
    "SELECT 1",
    "SET search_path = public",
    "BEGIN; SET LOCAL search_path = public",
    "CREATE TEMP TABLE IF NOT EXISTS left_behind (id int)",
    "SELECT pg_sleep(0.01)",
];

fn step() -> impl Strategy<Value = Step> {
    let tenant = 0..TENANTS;
    let left = 0..u8::try_from(LEFT.len()).unwrap();
    let patience = prop_oneof![Just(None), (0_u64..25).prop_map(Some)];
    prop_oneof![
        12 => (tenant.clone(), left, patience).prop_map(|(t, l, p)| Step::Ask(t, l, p)),
        1 => tenant.clone().prop_map(Step::Evict),
        1 => tenant.clone().prop_map(Step::Reload),
        1 => tenant.prop_map(Step::Recheck),
        2 => (0_u64..8).prop_map(Step::Wait),
    ]
}

#[test]
fn a_handler_never_sees_another_tenants_database() {
    let stage = Stage::start();
    let (caller, mut tenants) = (stage.caller.clone(), Vec::new());
    for number in 0..TENANTS {
        let caller = caller.clone();
        let mode = if number % 2 == 0 {
            "database"
        } else {
            "schema"
        };
        tenants.push(block_on(
            async move { caller.tenant(&["ledger"], mode).await },
        ));
    }
    let tokens: Vec<String> = tenants.iter().map(|tenant| stage.token(tenant)).collect();
    let (settings, manager) = (stage.settings(), stage.manager());
    let mut runner = TestRunner::new(Config {
        cases: 12,
        failure_persistence: None,
        max_shrink_iters: 16,
        ..Config::default()
    });
    let story = proptest::collection::vec(step(), 30..90);
    let served = std::sync::atomic::AtomicUsize::new(0);
    runner
        .run(&story, |story| {
            let settings = TenancySettings {
                modules: vec!["onboarding".into()],
                pools: PoolSettings {
                    max_tenants: 3,
                    max_open: 3,
                    idle_timeout: Duration::from_millis(80),
                    wait: Duration::from_secs(10),
                    ..PoolSettings::default()
                },
                ..settings.clone()
            };
            let resolver_of = manager.clone();
            let (tenants, tokens) = (tenants.clone(), tokens.clone());
            let outcome = block_on(async move {
                let resolver = Resolver::new(resolver_of, calm(), None);
                let tenancy = Tenancy::new(settings, resolver);
                play(&tenancy, &story, &tenants, &tokens).await
            });
            let count = outcome.map_err(TestCaseError::fail)?;
            served.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    let served = served.into_inner();
    assert!(served > 50, "only {served} requests were served");
}

/// Plays a story and returns how many requests were served, each from its own place.
async fn play(
    tenancy: &Tenancy,
    story: &[Step],
    tenants: &[Value],
    tokens: &[String],
) -> Result<usize, String> {
    let router = router(tenancy);
    let id = |at: usize| -> TenantId { tenants[at]["id"].as_str().unwrap().parse().unwrap() };
    let mut requests = tokio::task::JoinSet::new();
    for step in story {
        match *step {
            Step::Ask(at, left, patience) => {
                let (router, token) = (router.clone(), tokens[at].clone());
                let expected = expected(&tenants[at], "onboarding");
                requests.spawn(async move {
                    let left = [("sql", LEFT[usize::from(left)])];
                    let asked = wish(&router, &token, &left);
                    let said = match patience {
                        None => asked.await,
                        // Dropped in the middle of whatever it does.
                        Some(millis) => {
                            match tokio::time::timeout(Duration::from_millis(millis), asked).await {
                                Ok(said) => said,
                                Err(_) => return Ok(0),
                            }
                        }
                    };
                    match said.status {
                        200 if said.body == expected => Ok(1),
                        // No place for another tenant, or evicted under way: refused is fine.
                        // So are temporary tables in a shared database.
                        503 | 422 => Ok(0),
                        _ => Err(format!("{said:?} instead of {expected}")),
                    }
                });
            }
            Step::Evict(at) => tenancy.evict(&id(at)).await,
            Step::Reload(at) => tenancy.reload(&id(at)).await,
            Step::Recheck(at) => tenancy.recheck(&id(at)).await,
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
        if tenancy.counts().tenants > 3 {
            return Err(format!("more pools than allowed: {:?}", tenancy.counts()));
        }
    }
    let mut served = 0;
    while let Some(ended) = requests.join_next().await {
        served += ended.map_err(|error| error.to_string())??;
    }
    Ok(served)
}
