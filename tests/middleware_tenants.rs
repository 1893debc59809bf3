//! The tenant middleware on real servers: who is served, from which database, what is refused and
//! how, and what lifecycle events do to requests under way.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lerianctl::client::{Resolver, ResolverSettings};
use lerianctl::contract::TenantId;
use lerianctl::middleware::{KeySet, PoolSettings, Tenancy, TenancySettings, Trust};
use serde_json::{Value, json};

use crate::middleware_kit::{Stage, ask, calm, expected, request, router, send, wish};
use crate::server_kit::{Proxy, log_in, path};
use crate::support::stack::until;
use crate::support::{Redis, Script};

fn id(tenant: &Value) -> TenantId {
    tenant["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_is_served_from_its_own_database_or_schema() {
    let stage = Stage::start();
    let mut tenants = Vec::new();
    for mode in ["database", "database", "schema", "schema"] {
        tenants.push(stage.caller.tenant(&["ledger"], mode).await);
    }
    let router = router(&stage.tenancy());
    for _ in 0..2 {
        for tenant in &tenants {
            for module in ["onboarding", "transaction"] {
                let said = wish(&router, &stage.token(tenant), &[("module", module)]).await;
                assert_eq!(said.body, expected(tenant, module));
            }
        }
    }
    // The same tenant in every spelling; what else the request says changes nothing.
    let other = tenants[1]["id"].as_str().unwrap();
    let request = Request::get(format!("/place?tenantId={other}"))
        .header(
            "Authorization",
            format!("Bearer {}", stage.token(&tenants[0])),
        )
        .header("X-Tenant-Id", other)
        .header("md-tenant-id", other)
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        send(&router, request).await.body,
        expected(&tenants[0], "onboarding")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_answered_as_the_products_do() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let router = router(&stage.tenancy());
    let refused = async |token: &str| {
        let said = ask(&router, token).await;
        (said.status, said.code())
    };
    let token = stage.token(&tenant);
    let claims = json!({ "tenantId": tenant["id"], "exp": 9_999_999_999_u64 }).to_string();
    let unsigned = |header: &str| {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", encode(header), encode(&claims))
    };
    for bad in [
        "x",
        &token[..token.len() - 2],
        &unsigned(r#"{"alg":"none"}"#),
        &unsigned(r#"{"alg":"nOnE"}"#),
    ] {
        assert_eq!(refused(bad).await, (401, "INVALID_TOKEN".into()), "{bad}");
    }
    let empty = Request::get("/place").body(Body::empty()).unwrap();
    assert_eq!(send(&router, empty).await.code(), "MISSING_TOKEN");
    let unknown = stage.token_of(TenantId::generate().as_str());
    assert_eq!(refused(&unknown).await, (404, "TENANT_NOT_FOUND".into()));
    // A product that needs what the tenant has not.
    let other = TenancySettings {
        modules: vec!["onboarding".into(), "fees".into()],
        ..stage.settings()
    };
    let resolver = Resolver::new(stage.manager(), calm(), None);
    let without = self::router(&Tenancy::new(other, resolver));
    let said = ask(&without, &token).await;
    assert_eq!(
        (said.status, said.code()),
        (503, "SERVICE_UNAVAILABLE".into())
    );
    // Suspended: found out at the next question, as nobody listens to events here.
    assert_eq!(ask(&router, &token).await.status, 200);
    let suspend = path(&tenant, "/suspend");
    stage.caller.post(&suspend, &json!({})).await.expect(200);
    let fresh = self::router(&stage.tenancy());
    let said = ask(&fresh, &token).await;
    assert_eq!((said.status, said.code()), (403, "0131".into()));
    assert!(
        said.body.contains("tenant service is suspended"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_fetched_and_fetched_again_for_a_new_one() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let address = format!("{}/.well-known/jwks.json", stage.server.url());
    let with = |url: &str| {
        let settings = TenancySettings {
            trust: Trust::Published(KeySet::new(url.parse().unwrap())),
            ..stage.settings()
        };
        router(&Tenancy::new(
            settings,
            Resolver::new(stage.manager(), calm(), None),
        ))
    };
    let router = with(&address);
    assert_eq!(ask(&router, &stage.token(&tenant)).await.status, 200);
    let other = Stage::start();
    assert_eq!(
        ask(&router, &other.token(&tenant)).await.code(),
        "INVALID_TOKEN"
    );
    // Without keys nobody is let in.
    let closed = with("http://127.0.0.1:1/jwks");
    let said = ask(&closed, &stage.token(&tenant)).await;
    assert_eq!(
        (said.status, said.code()),
        (503, "SERVICE_UNAVAILABLE".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_request_is_left_in_the_session_of_the_next() {
    let stage = Stage::start();
    let other = stage.caller.tenant(&["ledger"], "schema").await;
    let there = other["services"][0]["databases"][0]["schema"]
        .as_str()
        .unwrap();
    for mode in ["database", "schema"] {
        let tenant = stage.caller.tenant(&["ledger"], mode).await;
        let mut settings = stage.settings();
        // One session, so that the next request gets the very same.
        settings.pools.max_open = 1;
        let resolver = Resolver::new(stage.manager(), calm(), None);
        let router = router(&Tenancy::new(settings, resolver));
        let token = stage.token(&tenant);
        for sql in [
            format!("SET search_path = {there}, public"),
            "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; SET ROLE NONE".to_owned(),
            "CREATE TEMP TABLE kept (id int)".to_owned(),
            format!("BEGIN; SET LOCAL search_path = {there}"),
            "BEGIN; CREATE TEMP TABLE kept (id int)".to_owned(),
            "SELECT pg_advisory_lock(7); LISTEN secrets".to_owned(),
            "BEGIN; SELECT 1/0".to_owned(),
        ] {
            let said = wish(&router, &token, &[("sql", &sql)]).await;
            if said.status == 422 {
                // In a shared database there are no temporary tables.
                let refused = sql.contains("1/0") || (mode == "schema" && sql.contains("TEMP"));
                assert!(refused, "{sql}: {said:?}");
            } else {
                assert_eq!(said.body, expected(&tenant, "onboarding"), "{sql}");
            }
            assert_eq!(
                ask(&router, &token).await.body,
                expected(&tenant, "onboarding")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_suspend_and_readmit_a_tenant() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let neighbour = stage.caller.tenant(&["ledger"], "database").await;
    let tenancy = stage.tenancy();
    let _listener = stage.listen(&tenancy).await;
    let router = router(&tenancy);
    let token = stage.token(&tenant);
    assert_eq!(ask(&router, &token).await.status, 200);
    assert_eq!(ask(&router, &stage.token(&neighbour)).await.status, 200);
    stage
        .caller
        .post(&path(&tenant, "/suspend"), &json!({}))
        .await
        .expect(200);
    until("the pools are closed", async || {
        !tenancy.has_pools(&id(&tenant))
    })
    .await;
    let said = ask(&router, &token).await;
    assert_eq!((said.status, said.code()), (403, "0131".into()));
    assert!(tenancy.has_pools(&id(&neighbour)));
    let change = stage
        .caller
        .post(&path(&tenant, "/reactivate"), &json!({}))
        .await
        .expect(200);
    if change.get("operation").is_some() {
        stage.caller.succeeds(&change).await;
    }
    assert_eq!(
        ask(&router, &token).await.body,
        expected(&tenant, "onboarding")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_fails_no_request_under_way_and_the_next_uses_the_new_login() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let tenancy = stage.tenancy();
    let _listener = stage.listen(&tenancy).await;
    let router = router(&tenancy);
    let token = stage.token(&tenant);
    assert_eq!(ask(&router, &token).await.status, 200);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let (router, token, stop) = (router.clone(), token.clone(), stop.clone());
            let expected = expected(&tenant, "onboarding");
            tokio::spawn(async move {
                let mut served = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let said = wish(&router, &token, &[("pause_ms", "30")]).await;
                    assert_eq!(said.body, expected);
                    served += 1;
                }
                served
            })
        })
        .collect();
    for _ in 0..3 {
        let replaced = tenancy.counts();
        let body = json!({ "graceSeconds": 1 });
        let change = stage
            .caller
            .post(&path(&tenant, "/rotate"), &body)
            .await
            .expect(200);
        stage.caller.succeeds(&change).await;
        let pages = async |state: &str| {
            let query = format!(
                "/v1/admin/operations?tenant={}",
                tenant["slug"].as_str().unwrap()
            );
            let page = stage.caller.get(&query).await.expect(200);
            let all = page["items"].as_array().unwrap().clone();
            let of_kind = all.iter().filter(|o| o["kind"] == "retire");
            of_kind.filter(|o| o["state"] == state).count()
        };
        // The old login is closed for good while requests go on.
        until("the old login is retired", async || {
            pages("pending").await + pages("running").await == 0
        })
        .await;
        let _ = replaced;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in busy {
        assert!(task.await.unwrap() > 0);
    }
    assert!(tenancy.counts().closed == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_nobody_told_heals_at_the_next_request() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let mut settings = stage.settings();
    settings.pools.max_idle = 1;
    settings.pools.idle_timeout = Duration::from_millis(50);
    let tenancy = Tenancy::new(settings, Resolver::new(stage.manager(), calm(), None));
    let router = router(&tenancy);
    let token = stage.token(&tenant);
    assert_eq!(ask(&router, &token).await.status, 200);
    let before = stage
        .caller
        .connections(&tenant, "ledger")
        .await
        .expect(200);
    let body = json!({ "graceSeconds": 1 });
    let change = stage
        .caller
        .post(&path(&tenant, "/rotate"), &body)
        .await
        .expect(200);
    stage.caller.succeeds(&change).await;
    let old = &before["databases"]["onboarding"]["postgresql"];
    until("the old login is closed", async || {
        log_in(old).await.is_err()
    })
    .await;
    // Idle pools are gone, and the old answer is still in memory.
    until("the pools are closed", async || {
        !tenancy.has_pools(&id(&tenant))
    })
    .await;
    assert_eq!(
        ask(&router, &token).await.body,
        expected(&tenant, "onboarding")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_events_were_lost_is_asked_for_afterwards() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let tenancy = stage.tenancy();
    let mut redis = Redis::shared().endpoint();
    let proxy = Proxy::to(redis.port);
    redis.port = proxy.port();
    let _listener = stage.listen_at(&tenancy, redis).await;
    let router = router(&tenancy);
    let token = stage.token(&tenant);
    assert_eq!(ask(&router, &token).await.status, 200);
    proxy.cut();
    stage
        .caller
        .post(&path(&tenant, "/suspend"), &json!({}))
        .await
        .expect(200);
    proxy.open();
    until("the tenant is refused", async || {
        ask(&router, &token).await.status == 403
    })
    .await;
    assert!(!tenancy.has_pools(&id(&tenant)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_tenant_manager_warm_tenants_are_served_and_others_are_not() {
    let stage = Stage::start();
    let warm = stage.caller.tenant(&["ledger"], "database").await;
    let cold = stage.caller.tenant(&["ledger"], "database").await;
    let proxy = Proxy::to(stage.server.port());
    let manager = stage.manager_at(&format!("http://127.0.0.1:{}", proxy.port()));
    let tenancy = Tenancy::new(stage.settings(), Resolver::new(manager, calm(), None));
    let router = router(&tenancy);
    assert_eq!(ask(&router, &stage.token(&warm)).await.status, 200);
    proxy.cut();
    for expected in [
        (500, "TENANT_DB_ERROR"),
        (500, "TENANT_DB_ERROR"),
        (503, "SERVICE_UNAVAILABLE"),
    ] {
        let said = ask(&router, &stage.token(&cold)).await;
        assert_eq!((said.status, said.code().as_str()), expected);
    }
    assert_eq!(ask(&router, &stage.token(&warm)).await.status, 200);
}

/// Neither part is there any more, one after the other: whoever has no connection of its own is
/// refused, and nobody is led to another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_and_then_without_the_tenant_manager_nobody_falls_back_to_another_pool() {
    for mode in ["database", "schema"] {
        let redis = Redis::private();
        let endpoint = redis.endpoint();
        let stage = Stage::start();
        let mut tenants = Vec::new();
        for _ in 0..4 {
            tenants.push(stage.caller.tenant(&["ledger"], mode).await);
        }
        let [warm, late, cold, gone] = tenants.as_slice() else {
            panic!("there are four");
        };
        let tokens: Vec<String> = tenants.iter().map(|t| stage.token(t)).collect();
        let unknown = stage.token_of(TenantId::generate().as_str());
        let settings = ResolverSettings {
            check_interval: Duration::from_millis(20),
            ..ResolverSettings::default()
        };
        let resolver = Resolver::new(stage.manager(), settings, Some(endpoint.clone()));
        let tenancy = Tenancy::new(stage.settings(), resolver);
        let _listener = stage.listen_at(&tenancy, endpoint).await;
        let router = router(&tenancy);
        for at in [0, 3] {
            let said = ask(&router, &tokens[at]).await;
            assert_eq!(said.body, expected(&tenants[at], "onboarding"));
        }
        drop(redis);
        // The Tenant Manager knows, with or without the shared tier.
        for (tenant, token) in [(warm, &tokens[0]), (late, &tokens[1])] {
            let said = ask(&router, token).await;
            assert_eq!(said.body, expected(tenant, "onboarding"));
        }
        assert_eq!(ask(&router, &unknown).await.code(), "TENANT_NOT_FOUND");
        // No event comes through; the next question finds out.
        stage
            .caller
            .post(&path(gone, "/suspend"), &json!({}))
            .await
            .expect(200);
        until("the suspended tenant is refused", async || {
            ask(&router, &tokens[3]).await.status == 403
        })
        .await;
        stage.server.stop();
        // Until the breaker opens, and after.
        for _ in 0..4 {
            for token in [&tokens[2], &unknown] {
                let said = ask(&router, token).await;
                assert!([500, 503].contains(&said.status), "{said:?}");
                let code = said.code();
                assert!(
                    ["TENANT_DB_ERROR", "SERVICE_UNAVAILABLE"].contains(&code.as_str()),
                    "{code}"
                );
            }
            assert_ne!(ask(&router, &tokens[3]).await.status, 200);
        }
        assert!(!tenancy.has_pools(&id(cold)));
        // What is known stays where it is.
        for (tenant, token) in [(warm, &tokens[0]), (late, &tokens[1])] {
            let said = ask(&router, token).await;
            assert_eq!(said.body, expected(tenant, "onboarding"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_finds_the_shared_tier_and_revalidation_closes_what_is_suspended() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "database").await;
    let token = stage.token(&tenant);
    let settings = ResolverSettings {
        check_interval: Duration::from_millis(20),
        ..ResolverSettings::default()
    };
    let shared = Redis::shared().endpoint();
    let first = Resolver::new(stage.manager(), settings, Some(shared.clone()));
    assert_eq!(
        ask(&router(&Tenancy::new(stage.settings(), first)), &token)
            .await
            .status,
        200
    );
    // This one cannot reach the Tenant Manager at all.
    let closed = stage.manager_at("http://127.0.0.1:1");
    let second = Resolver::new(closed, settings, Some(shared.clone()));
    assert_eq!(
        ask(&router(&Tenancy::new(stage.settings(), second)), &token)
            .await
            .status,
        200
    );
    let third = Resolver::new(stage.manager(), settings, Some(shared));
    let tenancy = Tenancy::new(stage.settings(), third);
    let router = router(&tenancy);
    assert_eq!(ask(&router, &token).await.status, 200);
    stage
        .caller
        .post(&path(&tenant, "/suspend"), &json!({}))
        .await
        .expect(200);
    until("traffic finds out", async || {
        ask(&router, &token).await.status == 403
    })
    .await;
    assert!(!tenancy.has_pools(&id(&tenant)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_only_as_many_sessions_as_it_may_and_others_do_not_wait_for_it() {
    let stage = Stage::start();
    let busy = stage.caller.tenant(&["ledger"], "database").await;
    let other = stage.caller.tenant(&["ledger"], "database").await;
    let settings = TenancySettings {
        pools: PoolSettings {
            max_open: 2,
            wait: Duration::from_millis(100),
            ..PoolSettings::default()
        },
        ..stage.settings()
    };
    let tenancy = Tenancy::new(settings, Resolver::new(stage.manager(), calm(), None));
    let router = router(&tenancy);
    let token = stage.token(&busy);
    assert_eq!(ask(&router, &token).await.status, 200);
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let (router, token) = (router.clone(), token.clone());
            tokio::spawn(async move {
                wish(&router, &token, &[("sql", "SELECT pg_sleep(2)")])
                    .await
                    .status
            })
        })
        .collect();
    until("every session is in use", async || {
        let said = ask(&router, &token).await;
        said.status == 503 && said.code() == "SERVICE_UNAVAILABLE"
    })
    .await;
    assert_eq!(
        ask(&router, &stage.token(&other)).await.body,
        expected(&other, "onboarding")
    );
    for task in slow {
        assert_eq!(task.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn an_answer_about_another_tenant_and_a_session_elsewhere_are_refused() {
    let stage = Stage::start();
    let tenant = stage.caller.tenant(&["ledger"], "schema").await;
    let theirs = stage
        .caller
        .connections(&tenant, "ledger")
        .await
        .expect(200);
    let mine = TenantId::generate();
    // A Tenant Manager that mixes up its answers.
    let mixed = theirs.clone();
    let script = Script::answer(move |_, _| crate::support::Play::json(200, mixed.clone()));
    let of = |url: &str| {
        let resolver = Resolver::new(stage.manager_at(url), calm(), None);
        router(&Tenancy::new(stage.settings(), resolver))
    };
    let said = ask(&of(&script.url()), &stage.token_of(mine.as_str())).await;
    assert_eq!((said.status, said.code()), (500, "TENANT_DB_ERROR".into()));
    // A schema that the login cannot see: without it everything would land in `public`.
    let mut other = theirs;
    other["databases"]["onboarding"]["postgresql"]["schema"] = "nowhere".into();
    let script = Script::answer(move |_, _| crate::support::Play::json(200, other.clone()));
    let said = send(&of(&script.url()), request("/place", &stage.token(&tenant))).await;
    assert_eq!((said.status, said.code()), (500, "TENANT_DB_ERROR".into()));
}
