//! Private servers: started, reached, stopped, gone.

use lerianctl::devstack::process::ProcessId;

use super::support::{Postgres, Redis, RedisCluster, connection, session};

#[tokio::test]
async fn the_shared_postgres_answers_and_wants_its_password() {
    let server = Postgres::shared();
    let client = session(&server.endpoint()).await;
    let row = client
        .query_one(
            "SELECT current_setting('server_encoding'), current_setting('data_checksums'),
                    current_setting('password_encryption'), current_setting('listen_addresses')",
            &[],
        )
        .await
        .unwrap();
    let values: Vec<String> = (0..4).map(|column| row.get(column)).collect();
    assert_eq!(values, ["UTF8", "on", "scram-sha-256", "127.0.0.1"]);

    let refused = tokio_postgres::Config::new()
        .host("127.0.0.1")
        .port(server.port())
        .user("postgres")
        .password("wrong")
        .connect(tokio_postgres::NoTls)
        .await
        .map(drop);
    let code = refused.unwrap_err().code().cloned();
    assert_eq!(
        code,
        Some(tokio_postgres::error::SqlState::INVALID_PASSWORD)
    );
}

#[tokio::test]
async fn the_shared_redis_answers_and_wants_its_password() {
    let server = Redis::shared();
    let mut connection = connection(&server.endpoint()).await;
    let pong: String = redis::cmd("PING")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(pong, "PONG");

    let open = redis::Client::open(("127.0.0.1", server.port())).unwrap();
    let mut stranger = open.get_multiplexed_async_connection().await.unwrap();
    let refused = redis::cmd("PING")
        .query_async::<String>(&mut stranger)
        .await;
    assert_eq!(refused.unwrap_err().code(), Some("NOAUTH"));
}

#[tokio::test]
async fn a_redis_cluster_spreads_keys_over_its_nodes() {
    let cluster = RedisCluster::shared();
    let nodes: Vec<redis::ConnectionInfo> = cluster
        .endpoints()
        .iter()
        .map(|endpoint| {
            let password = endpoint.password.as_ref().unwrap().expose();
            let url = format!("redis://:{password}@{}:{}", endpoint.host, endpoint.port);
            redis::IntoConnectionInfo::into_connection_info(url).unwrap()
        })
        .collect();
    let client = redis::cluster::ClusterClient::new(nodes).unwrap();
    let mut connection = client.get_async_connection().await.unwrap();
    for number in 0..100 {
        redis::cmd("SET")
            .arg(format!("spread:{number}"))
            .arg(number)
            .query_async::<()>(&mut connection)
            .await
            .unwrap();
    }
    for node in cluster.nodes() {
        let mut direct = super::support::connection(&node.endpoint()).await;
        let size: u32 = redis::cmd("DBSIZE").query_async(&mut direct).await.unwrap();
        assert!(size > 0, "a node got no key");
    }
}

#[test]
fn a_private_server_ends_when_it_is_dropped() {
    let postgres = Postgres::private();
    let redis = Redis::private();
    let processes = [postgres.process().clone(), redis.process().clone()];
    let folders = [postgres.folder().to_owned(), redis.folder().to_owned()];
    assert!(processes.iter().all(ProcessId::is_alive));
    drop((postgres, redis));
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert!(folders.iter().all(|folder| !folder.exists()));
}
