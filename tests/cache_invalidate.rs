//! After a flush products are told to drop what they hold in memory.

use std::ops::ControlFlow;
use std::time::Duration;

use lerianctl::events::{Filter, Item, Subscription};
use lerianctl::link::redis::RedisEndpoint;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::support::{Postgres, Redis, Sandbox, ServerProcess, block_on};

/// Listens in the background; returns once the subscription is confirmed.
fn listen(endpoint: RedisEndpoint) -> UnboundedReceiver<Item> {
    let (sender, mut items) = unbounded_channel();
    block_on(async move {
        tokio::spawn(async move {
            let production = Subscription::Environment("production".parse().unwrap());
            let all = Filter::default();
            let send = |item| {
                if sender.send(item).is_ok() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            };
            lerianctl::events::tail(&endpoint, &production, &all, None, send).await
        });
        let first = items.recv().await;
        assert!(matches!(first, Some(Item::Listening { .. })), "{first:?}");
        items
    })
}

/// Returns tenant slug and service of the next `count` invalidations, in any order.
fn heard(items: &mut UnboundedReceiver<Item>, count: usize) -> Vec<(String, String)> {
    let mut heard = Vec::new();
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while heard.len() < count {
        match items.try_recv() {
            Ok(Item::Event(event)) if event.event_type == "tenant.cache.invalidate" => {
                let reason = event.payload.as_ref().and_then(|p| p["reason"].as_str());
                assert_eq!(reason, Some("ticket OPS-42"));
                assert_eq!(event.warnings, [""; 0]);
                heard.push((event.tenant_slug, event.service.unwrap()));
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
        assert!(std::time::Instant::now() < deadline, "heard only {heard:?}");
    }
    heard.sort();
    heard
}

fn set(redis: &RedisEndpoint, keys: &[String]) {
    let (redis, keys) = (redis.clone(), keys.to_vec());
    block_on(async move {
        let mut session = redis.connect().await.unwrap();
        for key in keys {
            let mut command = redis::cmd("SET");
            session
                .query::<()>(command.arg(key).arg("value"))
                .await
                .unwrap();
        }
    });
}

fn keys(redis: &RedisEndpoint) -> Vec<String> {
    let redis = redis.clone();
    block_on(async move {
        let mut session = redis.connect().await.unwrap();
        let mut keys: Vec<String> = session.query(redis::cmd("KEYS").arg("*")).await.unwrap();
        keys.sort();
        keys
    })
}

fn create(room: &Sandbox, name: &str, services: &[&str]) -> String {
    let mut call = vec![
        "tenant",
        "create",
        name,
        "--environment",
        "production",
        "-o",
        "json",
    ];
    for service in services {
        call.extend(["--service", service]);
    }
    let created = room.run(call).success().json();
    created["tenant"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn products_are_told_about_what_was_flushed_and_nobody_else() {
    let (data, events) = (Redis::private(), Redis::private());
    let (data, events) = (data.endpoint(), events.endpoint());
    let server = ServerProcess::start(&Postgres::shared().endpoint(), Some(&events));
    let mut room = server.room();
    let secret = |endpoint: &RedisEndpoint| endpoint.password.as_ref().unwrap().expose().to_owned();
    for (prefix, endpoint) in [("LERIANCTL_REDIS", &data), ("MULTI_TENANT_REDIS", &events)] {
        room.set(format!("{prefix}_HOST"), "127.0.0.1");
        room.set(format!("{prefix}_PORT"), endpoint.port.to_string());
        room.set(format!("{prefix}_PASSWORD"), secret(endpoint));
    }
    let aurora = create(&room, "Flush Aurora", &["ledger", "tracer"]);
    let boreal = create(&room, "Flush Boreal", &["tracer"]);
    let caches = |id: &str| {
        let dashed = uuid::Uuid::parse_str(id).unwrap().hyphenated();
        [
            format!("tenant:{id}:ledger_settings:{{o:l}}"),
            format!("tenant:{dashed}:fetcher:schema:x"),
            format!("tenant:{id}:balance:{{transactions}}:o:l:@cash#default"),
        ]
    };
    let shared = |id: &str, service| format!("tenant-connections:{id}:{service}");
    set(&data, &[caches(&aurora), caches(&boreal)].concat());
    set(
        &events,
        &[
            shared(&aurora, "ledger"),
            shared(&aurora, "tracer"),
            shared(&boreal, "tracer"),
        ],
    );
    let mut items = listen(events.clone());

    // By slug: every service of the tenant is told, and both servers are flushed.
    let flush = [
        "cache",
        "flush",
        "--reason",
        "ticket OPS-42",
        "-o",
        "json",
        "--tenant",
    ];
    let dry = room
        .run([&flush[..], &["flush-aurora", "--dry-run"]].concat())
        .success()
        .json();
    assert_eq!(dry["changed"], true);
    assert_eq!(
        dry["events"],
        json!(["tenant.cache.invalidate for each service of flush-aurora"])
    );
    let done = room
        .run([&flush[..], &["flush-aurora", "--yes"]].concat())
        .success()
        .json();
    let servers = done["servers"].as_array().unwrap();
    let deleted: Vec<_> = servers.iter().map(|server| &server["deleted"]).collect();
    assert_eq!(deleted, [2, 2]);
    assert_eq!(done["told"][0]["tenant"], "flush-aurora");
    assert_eq!(done["told"][0]["error"], json!(null));
    let pair = |slug: &str, service: &str| (slug.to_owned(), service.to_owned());
    assert_eq!(
        heard(&mut items, 2),
        [
            pair("flush-aurora", "ledger"),
            pair("flush-aurora", "tracer")
        ]
    );
    let mut left = Vec::from(caches(&boreal));
    left.push(caches(&aurora)[2].clone());
    left.sort();
    assert_eq!(keys(&data), left);
    assert_eq!(keys(&events), [shared(&boreal, "tracer")]);

    // By service: each tenant that has it.
    let service = [
        "cache",
        "flush",
        "--service",
        "tracer",
        "--yes",
        "--reason",
        "ticket OPS-42",
        "-o",
        "json",
    ];
    let done = room.run(service).success().json();
    assert_eq!(done["told"].as_array().unwrap().len(), 2);
    assert_eq!(
        heard(&mut items, 2),
        [
            pair("flush-aurora", "tracer"),
            pair("flush-boreal", "tracer")
        ]
    );
    assert_eq!(keys(&data), left, "tracer has no caches of its own");
    assert!(keys(&events).is_empty());

    // Nothing in Redis is not nothing in memory.
    let done = room
        .run([&flush[..], &["flush-aurora", "--yes"]].concat())
        .success()
        .json();
    assert_eq!(
        (&done["changed"], &done["servers"][0]["deleted"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(heard(&mut items, 2).len(), 2);

    // A tenant that nobody knows is a clear error, before anything is deleted.
    let unknown = room
        .run([&flush[..], &["flush-nobody", "--yes"]].concat())
        .exits(5);
    assert!(unknown.stderr.contains("flush-nobody"), "{unknown}");
    let both = [
        "cache",
        "flush",
        "--all",
        "--reason",
        "x",
        "--no-invalidate",
    ];
    assert!(room.run(both).exits(2).stderr.contains("--no-invalidate"));
}
