//! Events as a subscriber sees them: order, envelope, payloads, a Redis that goes and comes back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::server_kit::{Caller, Proxy, kinds, listen, path, slug};
use crate::support::stack::until;
use crate::support::{Postgres, Redis, Server, cluster};

const CHANNEL: &str = "tenant-events:production:";

#[tokio::test]
async fn a_tenants_life_is_told_in_order() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let mut heard = listen(Redis::shared().endpoint(), CHANNEL).await;
    let tenant = caller.tenant(&["ledger", "tracer"], "database").await;
    let mut events = heard.about(&tenant, 3).await;
    let first = events.remove(0);
    assert_eq!(first["event_type"], "tenant.created");
    assert_eq!(first["tenant_slug"], tenant["slug"]);
    assert_eq!(first["environment"], "production");
    assert!(first.get("payload").is_none());
    let mut associated = BTreeMap::new();
    for event in events {
        assert_eq!(event["event_type"], "tenant.service.associated");
        assert!(uuid::Uuid::parse_str(event["event_id"].as_str().unwrap()).is_ok());
        let at: jiff::Timestamp = event["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(at <= jiff::Timestamp::now());
        let payload = event["payload"].clone();
        associated.insert(
            payload["service_name"].as_str().unwrap().to_owned(),
            payload,
        );
    }
    assert_eq!(
        associated["ledger"],
        json!({ "service_name": "ledger", "isolation_mode": "isolated",
                "modules": ["onboarding", "transaction"] })
    );

    let act = |action: &'static str, body: Value| {
        let (caller, tenant) = (caller.clone(), tenant.clone());
        async move {
            let change = caller.post(&path(&tenant, action), &body).await.expect(200);
            assert_eq!(change["changed"], true, "{action}");
            if change.get("operation").is_some() {
                caller.succeeds(&change).await;
            }
            change
        }
    };
    act("/suspend", json!({})).await;
    act("/reactivate", json!({})).await;
    act("/services/tracer/suspend", json!({})).await;
    act("/services/tracer/reactivate", json!({})).await;
    act(
        "/invalidate",
        json!({ "service": "ledger", "reason": "ticket OPS-42" }),
    )
    .await;
    let change = caller
        .patch(
            &path(&tenant, ""),
            &json!({ "connectionSettings": { "maxOpenConns": 9, "maxIdleConns": 1 } }),
        )
        .await
        .expect(200);
    caller.succeeds(&change).await;
    act("/services/tracer/remove", json!({})).await;
    act("/purge", json!({})).await;
    let events = heard.about(&tenant, 16).await;
    let mut order = kinds(&events);
    // The modules of the pool settings are told in any order.
    order[10..13].sort();
    assert_eq!(
        order,
        [
            "tenant.service.suspended ledger",
            "tenant.service.suspended tracer",
            "tenant.suspended",
            "tenant.activated",
            "tenant.service.reactivated ledger",
            "tenant.service.reactivated tracer",
            "tenant.service.suspended tracer",
            "tenant.service.reactivated tracer",
            "tenant.cache.invalidate ledger",
            "tenant.updated",
            "tenant.connections.updated ledger",
            "tenant.connections.updated ledger",
            "tenant.connections.updated tracer",
            "tenant.service.disassociated tracer",
            "tenant.service.purged ledger",
            "tenant.deleted",
        ]
        .map(str::to_owned)
    );
    let payload = |at: usize| events[at]["payload"].clone();
    assert_eq!(
        payload(0),
        json!({ "service_name": "ledger", "previous_status": "active" })
    );
    assert_eq!(
        payload(4),
        json!({ "service_name": "ledger", "previous_status": "suspended", "re_provisioned": false })
    );
    assert_eq!(
        payload(8),
        json!({ "service_name": "ledger", "reason": "ticket OPS-42" })
    );
    assert_eq!(
        payload(13),
        json!({ "service_name": "tracer", "preserve_data": true })
    );
    assert_eq!(payload(14), json!({ "service_name": "ledger" }));
}

#[tokio::test]
async fn while_redis_is_down_events_are_kept_and_then_told_in_order() {
    let redis = Redis::shared().endpoint();
    let way = Proxy::to(redis.port);
    let server = Server::start_with(|settings| {
        settings.event_redis.as_mut().unwrap().port = way.port();
    });
    let caller = Caller::new(&server);
    let mut heard = listen(redis, CHANNEL).await;
    let tenant = caller.tenant(&["reporter"], "database").await;
    heard.about(&tenant, 2).await;
    // What Redis has told, the server may not know yet to be told: cut now, it would tell it again.
    until("what was told is noted", async || {
        let figures = caller.get("/metrics").await.text;
        figures.contains("lerianctl_outbox_depth 0\n")
    })
    .await;

    way.cut();
    let mut expected = Vec::new();
    for _ in 0..3 {
        for action in ["/suspend", "/reactivate"] {
            let change = caller
                .post(&path(&tenant, action), &json!({}))
                .await
                .expect(200);
            assert_eq!(change["changed"], true);
        }
        expected.extend([
            "tenant.service.suspended reporter",
            "tenant.suspended",
            "tenant.activated",
            "tenant.service.reactivated reporter",
        ]);
    }
    let figures = caller.get("/metrics").await.text;
    assert!(figures.contains("lerianctl_outbox_depth 12"), "{figures}");

    way.open();
    let events = heard.about(&tenant, 12).await;
    assert_eq!(kinds(&events), expected);
    let mut ids: Vec<&Value> = events.iter().map(|event| &event["event_id"]).collect();
    ids.dedup();
    assert_eq!(ids.len(), 12, "none is told twice here");
}

#[tokio::test]
async fn events_wait_in_the_registry_for_a_server_that_has_a_redis() {
    let folder = tempfile::tempdir().unwrap();
    let clusters = vec![cluster("main", Postgres::shared())];
    let mut settings = Server::settings(folder.path(), clusters, None);
    let server = Server::serve(settings.clone());
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["reporter"], "database").await;
    server.stop();
    settings.event_redis = Some(Redis::shared().endpoint());
    let mut heard = listen(Redis::shared().endpoint(), CHANNEL).await;
    let server = Server::serve(settings);
    let events = heard.about(&tenant, 2).await;
    assert_eq!(
        kinds(&events),
        ["tenant.created", "tenant.service.associated reporter"]
    );
    server.stop();
}

#[tokio::test]
async fn events_of_other_environments_go_to_their_own_channel_or_nowhere() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let mut staging = listen(Redis::shared().endpoint(), "tenant-events:staging:").await;
    let create = |environment: &'static str| {
        let caller = caller.clone();
        async move {
            let slug = slug("environment");
            let body =
                json!({ "name": slug, "environment": environment, "isolationMode": "database" });
            let change = caller.post("/v1/admin/tenants", &body).await.expect(201);
            change["tenant"].clone()
        }
    };
    create("development").await;
    let tenant = create("staging").await;
    let events = staging.about(&tenant, 1).await;
    assert_eq!(kinds(&events), ["tenant.created"]);
    assert_eq!(events[0]["environment"], "staging");
    let figures = caller.get("/metrics").await.text;
    assert!(
        figures.contains("lerianctl_outbox_undeliverable 1"),
        "{figures}"
    );
}
