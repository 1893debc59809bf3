//! A Redis over TLS is reached when it proves who it is, and not otherwise.

use lerianctl::cache::{self, Scope};
use lerianctl::devstack::port;
use lerianctl::events::Publisher;
use lerianctl::link::LinkError;
use lerianctl::link::redis::RedisEndpoint;

use super::support::Redis;

const AUTHORITY: &str = include_str!("certificates/authority.pem");
const OTHER_AUTHORITY: &str = include_str!("certificates/other-authority.pem");
const CERTIFICATE: &str = include_str!("certificates/server.pem");
const KEY: &str = include_str!("certificates/server-key.pem");

/// Opens a TLS port on the server and returns its endpoint.
async fn with_tls(plain: &RedisEndpoint, folder: &std::path::Path) -> RedisEndpoint {
    let mut session = plain.connect().await.unwrap();
    let port = port::pick();
    let mut command = redis::cmd("CONFIG");
    command.arg("SET");
    for (name, text) in [("cert", CERTIFICATE), ("key", KEY), ("ca-cert", AUTHORITY)] {
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, text).unwrap();
        command.arg(format!("tls-{name}-file")).arg(file.to_str());
    }
    command
        .arg("tls-auth-clients")
        .arg("no")
        .arg("tls-port")
        .arg(port);
    session.query::<()>(&command).await.unwrap();
    RedisEndpoint {
        host: "localhost".into(),
        port,
        tls: true,
        ca_pem: Some(AUTHORITY.into()),
        ..plain.clone()
    }
}

#[tokio::test]
async fn a_server_that_proves_itself_is_used_and_no_other() {
    let redis = Redis::private();
    let good = with_tls(&redis.endpoint(), redis.folder()).await;

    let mut command = redis::cmd("SET");
    command.arg("tenant:acme:fetcher:schema:x").arg("value");
    let mut session = good.connect().await.unwrap();
    session.query::<()>(&command).await.unwrap();
    let mut deployment = good.primaries().await.unwrap();
    let flush = cache::flush(&mut deployment, &Scope::everything(), &|_| ()).await;
    assert_eq!(flush.total().deleted.values().sum::<u64>(), 1);

    let mut subscriber = good.subscriber().await.unwrap();
    subscriber.subscribe("news").await.unwrap();
    let message = [("news".to_owned(), "hello".to_owned())];
    assert_eq!(
        Publisher::new(good.clone())
            .publish(&message)
            .await
            .unwrap(),
        [1]
    );

    let change = |change: fn(&mut RedisEndpoint)| {
        let mut endpoint = good.clone();
        change(&mut endpoint);
        endpoint
    };
    for (case, endpoint) in [
        (
            "another authority",
            change(|e| e.ca_pem = Some(OTHER_AUTHORITY.into())),
        ),
        ("the system's roots", change(|e| e.ca_pem = None)),
        ("another host", change(|e| e.host = "127.0.0.1".into())),
        (
            "no certificates at all",
            change(|e| e.ca_pem = Some("nonsense".into())),
        ),
    ] {
        let error = endpoint.connect().await.unwrap_err();
        assert!(matches!(error, LinkError::Tls { .. }), "{case}: {error:?}");
    }
    let mut plain_port = redis.endpoint();
    plain_port.tls = true;
    plain_port.host = "localhost".into();
    let error = plain_port.connect().await.unwrap_err();
    assert!(matches!(error, LinkError::Tls { .. }), "{error:?}");
    let plain_client = change(|e| e.tls = false);
    let error = plain_client.connect().await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
}
