//! Which servers a deployment has, and which of them are refused.

use lerianctl::link::LinkError;
use lerianctl::link::redis::RedisEndpoint;

use super::support::{Redis, RedisCluster};

async fn configure(endpoint: &RedisEndpoint, name: &str, value: &str) {
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg(name).arg(value);
    let mut session = endpoint.connect().await.unwrap();
    session.query::<()>(&command).await.unwrap();
}

#[tokio::test]
async fn a_cluster_is_found_whole_through_any_node_and_whatever_it_announces() {
    let cluster = RedisCluster::private();
    let ports = |mut ports: Vec<u16>| {
        ports.sort_unstable();
        ports
    };
    let expected = ports(cluster.endpoints().iter().map(|e| e.port).collect());
    for (kind, hostname) in [
        ("ip", ""),
        ("unknown-endpoint", ""),
        ("hostname", "unknown.invalid"),
    ] {
        for endpoint in cluster.endpoints() {
            configure(&endpoint, "cluster-announce-hostname", hostname).await;
            configure(&endpoint, "cluster-preferred-endpoint-type", kind).await;
        }
        for seed in cluster.endpoints() {
            let deployment = seed.primaries().await.unwrap();
            assert!(deployment.is_cluster());
            let found = deployment.nodes().iter().map(|n| n.session.endpoint().port);
            assert_eq!(ports(found.collect()), expected, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_cluster_with_a_node_out_of_reach_is_not_walked_in_part() {
    let cluster = RedisCluster::private();
    let [seed, dead] = [&cluster.endpoints()[0], &cluster.endpoints()[2]];
    cluster.nodes()[2]
        .process()
        .signal(rustix::process::Signal::KILL);
    while dead.connect().await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = seed.primaries().await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&dead.port.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_number_is_refused_in_a_cluster() {
    let cluster = RedisCluster::shared();
    let mut seed = cluster.endpoints()[0].clone();
    seed.database = 1;
    let error = seed.primaries().await.unwrap_err();
    assert!(
        error.to_string().contains("SELECT") || error.to_string().contains("database 0"),
        "{error}"
    );
}

#[tokio::test]
async fn a_replica_is_refused() {
    let (primary, replica) = (Redis::shared(), Redis::private());
    let mut command = redis::cmd("REPLICAOF");
    command.arg("127.0.0.1").arg(primary.port());
    let mut session = replica.endpoint().connect().await.unwrap();
    session.query::<()>(&command).await.unwrap();
    let error = replica.endpoint().primaries().await.unwrap_err();
    assert!(matches!(error, LinkError::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("replica"), "{error}");
}

#[tokio::test]
async fn a_port_that_never_answers_ends_in_a_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = RedisEndpoint::parse_url(&format!("redis://127.0.0.1:{port}")).unwrap();
    let error = endpoint.connect().await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("no answer within"), "{error}");
}
