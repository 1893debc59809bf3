//! Events reach subscribers, in order, and survive a restart of Redis.

use futures_util::StreamExt as _;
use lerianctl::events::Publisher;
use lerianctl::link::LinkError;

use rustix::process::Signal;

use super::support::Redis;

const CHANNEL: &str = "tenant-events:production:";

fn message(text: impl std::fmt::Display) -> (String, String) {
    (CHANNEL.to_owned(), text.to_string())
}

#[tokio::test]
async fn messages_arrive_in_order_and_are_counted() {
    let redis = Redis::private();
    let mut publisher = Publisher::new(redis.endpoint());
    assert_eq!(publisher.publish(&[message("nobody")]).await.unwrap(), [0]);

    let mut subscriber = redis.endpoint().subscriber().await.unwrap();
    subscriber.subscribe(CHANNEL).await.unwrap();
    let messages: Vec<_> = (0..1_234).map(message).collect();
    let receivers = publisher.publish(&messages).await.unwrap();
    assert_eq!(receivers, vec![1; messages.len()]);

    let received: Vec<String> = subscriber
        .on_message()
        .take(messages.len())
        .map(|message| message.get_payload().unwrap())
        .collect()
        .await;
    assert!(received.iter().eq(messages.iter().map(|m| &m.1)));
}

#[tokio::test]
async fn a_publisher_reconnects_after_a_failure() {
    let mut redis = Redis::private();
    let mut publisher = Publisher::new(redis.endpoint());
    publisher.publish(&[message("before")]).await.unwrap();

    redis.process().signal(Signal::KILL);
    let error = publisher.publish(&[message("lost")]).await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");

    redis.restart().await.unwrap();
    assert_eq!(publisher.publish(&[message("after")]).await.unwrap(), [0]);
}

#[tokio::test]
async fn a_user_who_may_only_publish_is_enough_and_others_are_refused_clearly() {
    let redis = Redis::private();
    let mut admin = redis.endpoint().connect().await.unwrap();
    for (user, rules) in [
        ("publisher", "resetchannels &tenant-events:* -@all +publish"),
        ("reader", "-@all +ping"),
    ] {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(user).arg("on").arg(">sesame");
        command.arg(rules.split(' ').collect::<Vec<_>>());
        admin.query::<()>(&command).await.unwrap();
    }
    let endpoint = |user: &str, password: &str| {
        let mut endpoint = redis.endpoint();
        endpoint.username = Some(user.to_owned());
        endpoint.password = Some(password.to_owned().into());
        endpoint
    };
    let mut allowed = Publisher::new(endpoint("publisher", "sesame"));
    assert_eq!(allowed.publish(&[message("hello")]).await.unwrap(), [0]);
    let error = allowed
        .publish(&[("elsewhere".to_owned(), "hello".to_owned())])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("NOPERM"), "{error}");

    let error = Publisher::new(endpoint("reader", "sesame"))
        .publish(&[message("hello")])
        .await
        .unwrap_err();
    assert!(matches!(error, LinkError::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("publish"), "{error}");

    let error = Publisher::new(endpoint("reader", "wrong-password"))
        .publish(&[message("hello")])
        .await
        .unwrap_err();
    assert!(matches!(error, LinkError::Refused { .. }), "{error:?}");
    assert!(!error.to_string().contains("wrong-password"), "{error}");

    let mut nobody = redis.endpoint();
    nobody.password = None;
    let error = Publisher::new(nobody)
        .publish(&[message("hello")])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("asks for a password"), "{error}");
}

#[tokio::test]
async fn a_replica_is_refused() {
    let replica = Redis::private();
    let mut command = redis::cmd("REPLICAOF");
    command.arg("127.0.0.1").arg(Redis::shared().port());
    let mut session = replica.endpoint().connect().await.unwrap();
    session.query::<()>(&command).await.unwrap();
    let error = Publisher::new(replica.endpoint())
        .publish(&[message("hello")])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("replica"), "{error}");
}
