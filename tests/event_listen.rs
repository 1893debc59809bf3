//! A listener hears what products hear, and says what it missed.

use std::ops::ControlFlow;

use lerianctl::contract::Environment;
use lerianctl::events::tail::OLD_PATTERN;
use lerianctl::events::{Filter, Item, Publisher, Subscription, TailError, tail};
use lerianctl::link::redis::RedisEndpoint;
use rustix::process::Signal;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::support::Redis;

const CHANNEL: &str = "tenant-events:production:";
const ID: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

fn production() -> Subscription {
    Subscription::Environment("production".parse::<Environment>().unwrap())
}

struct Listener {
    items: UnboundedReceiver<Item>,
    task: JoinHandle<Result<(), TailError>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Starts to listen and returns once the subscription is confirmed.
    async fn start(endpoint: RedisEndpoint, to: Subscription, filter: Filter) -> Self {
        let (sender, items) = unbounded_channel();
        let task = tokio::spawn(async move {
            tail(&endpoint, &to, &filter, None, |item| {
                let _ = sender.send(item);
                ControlFlow::Continue(())
            })
            .await
        });
        let mut listener = Self { items, task };
        let first = listener.next().await;
        assert!(
            matches!(first, Item::Listening { gap: None, .. }),
            "{first:?}"
        );
        listener
    }

    async fn next(&mut self) -> Item {
        self.items.recv().await.expect("the listener goes on")
    }
}

fn event(kind: &str, service: &str) -> String {
    let payload = serde_json::json!({ "service_name": service });
    serde_json::json!({
        "event_type": kind, "tenant_id": ID, "environment": "production", "payload": payload
    })
    .to_string()
}

async fn publish(endpoint: &RedisEndpoint, channel: &str, message: impl Into<Vec<u8>>) -> u64 {
    let mut command = redis::cmd("PUBLISH");
    command.arg(channel).arg(message.into());
    let mut session = endpoint.connect().await.unwrap();
    session.query(&command).await.unwrap()
}

#[tokio::test]
async fn events_are_heard_in_order_and_what_products_drop_is_shown_too() {
    let redis = Redis::private();
    let mut listener = Listener::start(redis.endpoint(), production(), Filter::default()).await;
    let messages: Vec<_> = (0..500)
        .map(|n| {
            (
                CHANNEL.to_owned(),
                event("tenant.cache.invalidate", &format!("s{n}")),
            )
        })
        .collect();
    Publisher::new(redis.endpoint())
        .publish(&messages)
        .await
        .unwrap();
    for number in 0..500 {
        let Item::Event(event) = listener.next().await else {
            panic!("an event");
        };
        assert_eq!(event.service, Some(format!("s{number}")));
    }
    publish(&redis.endpoint(), CHANNEL, *b"\xff\xfe\x1b[2J").await;
    let Item::Malformed(malformed) = listener.next().await else {
        panic!("a malformed message");
    };
    assert!(!malformed.excerpt.contains('\u{1b}'), "{malformed:?}");
    publish(&redis.endpoint(), CHANNEL, vec![b'x'; 8 << 20]).await;
    let Item::Malformed(malformed) = listener.next().await else {
        panic!("a malformed message");
    };
    assert!(malformed.excerpt.len() < 1_000);
}

#[tokio::test]
async fn the_exact_channel_misses_what_only_the_old_pattern_hears() {
    let redis = Redis::private();
    let mut exact = Listener::start(redis.endpoint(), production(), Filter::default()).await;
    let old = Subscription::OldPattern;
    let mut pattern = Listener::start(redis.endpoint(), old, Filter::default()).await;
    for (channel, receivers) in [
        ("tenant-events:production", 1),
        ("tenant-events:staging:", 1),
        (CHANNEL, 2),
    ] {
        let message = event("tenant.service.purged", "ledger");
        assert_eq!(
            publish(&redis.endpoint(), channel, message).await,
            receivers
        );
        let Item::Event(heard) = pattern.next().await else {
            panic!("an event");
        };
        assert_eq!(heard.channel, channel);
        assert_eq!(
            heard.warnings.is_empty(),
            channel == CHANNEL,
            "{:?}",
            heard.warnings
        );
    }
    let Item::Event(heard) = exact.next().await else {
        panic!("an event");
    };
    assert_eq!(heard.channel, CHANNEL);
    assert!(OLD_PATTERN.ends_with('*'));
}

#[tokio::test]
async fn a_filter_lets_through_what_was_asked_for() {
    let redis = Redis::private();
    let filter = Filter {
        types: vec!["tenant.service.purged".into()],
        services: vec!["tracer".parse().unwrap()],
        ..Filter::default()
    };
    let mut listener = Listener::start(redis.endpoint(), production(), filter).await;
    for (kind, service) in [
        ("tenant.service.purged", "ledger"),
        ("tenant.cache.invalidate", "tracer"),
        ("tenant.service.purged", "tracer"),
    ] {
        publish(&redis.endpoint(), CHANNEL, event(kind, service)).await;
    }
    let Item::Event(heard) = listener.next().await else {
        panic!("an event");
    };
    assert_eq!(heard.service.as_deref(), Some("tracer"));
    assert_eq!(heard.event_type, "tenant.service.purged");
}

#[tokio::test]
async fn a_gap_is_told_and_listening_goes_on() {
    let mut redis = Redis::private();
    let mut listener = Listener::start(redis.endpoint(), production(), Filter::default()).await;
    redis.process().signal(Signal::KILL);
    let lost = listener.next().await;
    assert!(matches!(lost, Item::Lost { .. }), "{lost:?}");
    redis.restart().await.unwrap();
    let back = listener.next().await;
    assert!(
        matches!(back, Item::Listening { gap: Some(_), .. }),
        "{back:?}"
    );
    publish(
        &redis.endpoint(),
        CHANNEL,
        event("tenant.service.purged", "ledger"),
    )
    .await;
    assert!(matches!(listener.next().await, Item::Event(_)));
}

#[tokio::test]
async fn a_listener_ends_when_told_and_when_its_time_is_up() {
    let redis = Redis::shared();
    let mut items = 0;
    let stop = |_| {
        items += 1;
        ControlFlow::Break(())
    };
    let all = Filter::default();
    tail(&redis.endpoint(), &production(), &all, None, stop)
        .await
        .unwrap();
    assert_eq!(items, 1);
    let now = Some(tokio::time::Instant::now());
    tail(&redis.endpoint(), &production(), &all, now, |_| {
        ControlFlow::Continue(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_cannot_be_listened_to_fails_at_once() {
    let redis = Redis::shared();
    let go_on = |_| ControlFlow::Continue(());
    let all = Filter::default();
    let development = Subscription::Environment("development".parse().unwrap());
    let error = tail(&redis.endpoint(), &development, &all, None, go_on)
        .await
        .unwrap_err();
    assert!(matches!(error, TailError::NoChannel(_)), "{error:?}");

    let mut wrong = redis.endpoint();
    wrong.password = Some("not-the-password".to_owned().into());
    let error = tail(&wrong, &production(), &all, None, go_on)
        .await
        .unwrap_err();
    assert!(matches!(error, TailError::Link(_)), "{error:?}");
    assert!(!error.to_string().contains("not-the-password"));
}
