//! Keys that servers are started with, where several servers share a registry: the last start
//! decides for all at once, those that run say so, and rotation has an overlap.

use std::time::Instant;

use lerianctl::secret::Secret;
use lerianctl::server::{AccessSettings, RegistryPlace, ServerError, ServerSettings, serve};
use serde_json::json;

use crate::server_kit::{Caller, PATIENCE};
use crate::support::{Postgres, Server, ServerProcess, block_on, cluster, unique};

/// A registry of its own for several servers.
pub(crate) fn settings() -> ServerSettings {
    ServerSettings {
        registry: RegistryPlace::Postgres {
            endpoint: Postgres::shared().endpoint(),
            schema: unique("registry"),
        },
        ..Server::settings(
            std::path::Path::new(""),
            vec![cluster("main", Postgres::shared())],
            None,
        )
    }
}

/// The same place with other keys to start with.
fn with(settings: &ServerSettings, keys: &[&Secret]) -> ServerSettings {
    ServerSettings {
        api_keys: keys.iter().copied().cloned().collect(),
        ready: std::sync::Arc::default(),
        ..settings.clone()
    }
}

fn forgetting(settings: &ServerSettings) -> ServerSettings {
    ServerSettings {
        access: AccessSettings {
            forget_api_keys: true,
            ..AccessSettings::default()
        },
        ..with(settings, &[])
    }
}

/// Asks every server once with a key: the first answer counts.
async fn asked(servers: &[&Server], key: &Secret, status: u16) {
    for server in servers {
        let caller = Caller::at(&server.url()).with_key(key.expose());
        caller.get("/v1/admin/info").await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_the_last_start_are_those_of_every_server() {
    let [old, new] = [Secret::generate(), Secret::generate()];
    let place = settings();
    let first = Server::serve(with(&place, &[&old]));
    asked(&[&first], &old, 200).await;
    asked(&[&first], &new, 401).await;

    // A rotation: both for a while, then the new one alone.
    let second = Server::serve(with(&place, &[&old, &new]));
    for key in [&old, &new] {
        asked(&[&first, &second], key, 200).await;
    }
    let third = Server::serve(with(&place, &[&new]));
    asked(&[&first, &second, &third], &old, 401).await;
    asked(&[&first, &second, &third], &new, 200).await;
    for server in [first, second, third] {
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_forgotten_on_every_server_but_not_the_last_operator() {
    let key = Secret::generate();
    let place = settings();
    let first = Server::serve(with(&place, &[&key]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = serve(listener, forgetting(&place), std::future::pending());
    let error = tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("it does not start")
        .unwrap_err();
    assert!(matches!(error, ServerError::NoAccess(_)), "{error}");
    // A start that is refused has changed nothing.
    asked(&[&first], &key, 200).await;

    let made = Caller::at(&first.url())
        .with_key(key.expose())
        .post(
            "/v1/admin/keys",
            &json!({ "name": "deploy", "role": "operator" }),
        )
        .await
        .expect(201);
    let operator = Secret::new(made["key"].as_str().unwrap());
    let second = Server::serve(forgetting(&place));
    asked(&[&first, &second], &key, 401).await;
    asked(&[&first, &second], &operator, 200).await;
    for server in [first, second] {
        server.stop();
    }
}

#[test]
fn a_server_that_is_overruled_says_which_keys_count() {
    let postgres = Postgres::private();
    let [old, new, master] = [(); 3].map(|()| Secret::generate());
    let first = ServerProcess::replica_of(&postgres.endpoint(), &old, &master, &[]);
    let second = ServerProcess::replica_of(&postgres.endpoint(), &new, &master, &[]);
    let said = |server: &ServerProcess| {
        std::fs::read_to_string(server.folder().join("log-1.txt")).expect("there is a log")
    };
    // Without being asked: there may be nobody left whose key it accepts.
    let begun = Instant::now();
    let line = loop {
        let log = said(&first);
        let mut lines = log.lines();
        if let Some(line) = lines.find(|line| line.contains("are refused")) {
            break line.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "{log}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(line.contains("WARN"), "{line}");
    let (url, key) = (first.url().to_owned(), new.clone());
    let log = block_on(async move {
        let caller = Caller::at(&url).with_key(key.expose());
        caller.get("/v1/admin/audit?limit=1000").await.expect(200)
    });
    let replaced = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|item| {
            let told = item["record"]["detail"].as_str()?;
            told.contains("withdrawn").then(|| told.to_owned())
        })
        .expect("the log tells it");
    let ids: Vec<&str> = replaced
        .split([' ', ';'])
        .filter(|word| word.starts_with("bootstrap-"))
        .collect();
    assert_eq!(ids.len(), 2, "{replaced}");
    assert!(ids.iter().all(|id| line.contains(id)), "{line}\n{replaced}");
    // The one that decided has nothing to warn of.
    assert!(
        !said(&second).contains("bootstrap keys"),
        "{}",
        said(&second)
    );
}
