//! Which servers a deployment has, and which of them are refused.

use lerianctl::cache::{self, Flush, Scope};
use lerianctl::link::LinkError;
use lerianctl::link::redis::{RedisEndpoint, Session};
use redis::{FromRedisValue, ToRedisArgs};

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

async fn call<T: FromRedisValue>(session: &mut Session, words: &[impl ToRedisArgs]) -> T {
    let mut command = redis::Cmd::new();
    command.arg(words);
    session.query(&command).await.unwrap()
}

async fn flush(seed: &RedisEndpoint) -> (Flush, u64) {
    let mut deployment = seed.primaries().await.unwrap();
    let flush = cache::flush(&mut deployment, &Scope::everything(), &|_| ()).await;
    let deleted = flush
        .nodes
        .iter()
        .flat_map(|node| node.tally.deleted.values());
    let deleted = deleted.sum();
    (flush, deleted)
}

#[tokio::test]
async fn a_flush_while_a_slot_moves_says_so_and_the_next_one_finishes() {
    let cluster = RedisCluster::private();
    let endpoints = cluster.endpoints();
    let key = "tenant:acme:fetcher:schema:x";
    let mut sessions = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    let mut owner = None;
    for (number, endpoint) in endpoints.iter().enumerate() {
        let mut session = endpoint.connect().await.unwrap();
        ids.push(call(&mut session, &["CLUSTER", "MYID"]).await);
        let mut set = redis::cmd("SET");
        if session.query::<()>(set.arg(key).arg("value")).await.is_ok() {
            owner = Some(number);
        }
        sessions.push(session);
    }
    let from = owner.unwrap();
    let to = (from + 1) % 3;
    let slot: u32 = call(&mut sessions[0], &["CLUSTER", "KEYSLOT", key]).await;
    let slot = slot.to_string();
    let set_slot =
        |state: &str, id: &str| ["CLUSTER", "SETSLOT", &slot, state, id].map(str::to_owned);
    call::<()>(&mut sessions[to], &set_slot("IMPORTING", &ids[from])).await;
    call::<()>(&mut sessions[from], &set_slot("MIGRATING", &ids[to])).await;
    let port = endpoints[to].port.to_string();
    let password = endpoints[to].password.as_ref().unwrap().expose();
    let migrate = [
        "MIGRATE",
        "127.0.0.1",
        &port,
        key,
        "0",
        "5000",
        "AUTH",
        password,
    ];
    call::<()>(&mut sessions[from], &migrate).await;

    // The key lies on a server that does not own it yet: it stays, and that is not kept secret.
    let (result, deleted) = flush(&endpoints[0]).await;
    assert!(result.moving && result.nodes.iter().all(|node| node.error.is_none()));
    assert_eq!(deleted, 0);

    for session in &mut sessions {
        call::<()>(session, &set_slot("NODE", &ids[to])).await;
    }
    let (result, deleted) = flush(&endpoints[0]).await;
    assert!(!result.moving, "{result:?}");
    assert_eq!(deleted, 1);
}

#[tokio::test]
async fn slots_that_moved_after_connecting_are_walked_again() {
    let cluster = RedisCluster::private();
    let endpoints = cluster.endpoints();
    let mut deployment = endpoints[0].primaries().await.unwrap();
    assert!(!deployment.has_moved().await.unwrap());
    let mut session = endpoints[1].connect().await.unwrap();
    let id: String = call(&mut session, &["CLUSTER", "MYID"]).await;
    for endpoint in &endpoints {
        let mut session = endpoint.connect().await.unwrap();
        call::<()>(&mut session, &["CLUSTER", "SETSLOT", "0", "NODE", &id]).await;
    }
    assert!(deployment.has_moved().await.unwrap());
    let flush = cache::flush(&mut deployment, &Scope::everything(), &|_| ()).await;
    assert!(!flush.moving, "{flush:?}");
    assert_eq!(flush.nodes.len(), 3);
    assert!(!deployment.has_moved().await.unwrap());
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
