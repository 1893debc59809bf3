//! Read leases: while a server relies on its memory, nobody changes anything.

use std::time::{Duration, Instant};

use super::servers::two;
use super::*;
use crate::server::registry::Signal;
use crate::server::registry::postgres::PostgresRegistry;

/// Longer than a change takes that waits for nothing, whatever else this machine does.
const A_WHILE: Duration = Duration::from_millis(400);
const LONGEST: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_millis(1500);

/// Takes a lease as a server does, which asks before it relies on anything.
async fn take(registry: &PostgresRegistry) -> bool {
    registry.changes(None).await.unwrap();
    registry.take_read_lease(LEASE).await.unwrap()
}

async fn leases(registry: &PostgresRegistry) -> i64 {
    let session = registry.endpoint().connect().await.unwrap();
    let count = session.query_one("SELECT count(*) FROM read_leases", &[]);
    count.await.unwrap().get(0)
}

#[tokio::test]
async fn a_change_waits_until_every_read_lease_is_given_back() {
    let (a, b) = two().await;
    let a = Arc::new(a);
    let mut heard = b.signals().unwrap();
    assert_eq!(heard.recv().await, Some(Signal::Anything));
    let known = b.changes(None).await.unwrap();
    for keys in [false, true] {
        assert!(take(&b).await && take(&a).await);
        let changing = Arc::clone(&a);
        let change = tokio::spawn(async move {
            if keys {
                changing
                    .revoke_access_keys(Vec::new(), now(), Vec::new())
                    .await
            } else {
                changing.commit(Commit::new(tenant("aurora"))).await
            }
        });
        while heard.recv().await != Some(Signal::Leases) {}
        // The one that changes has one too.
        a.give_back_read_lease().await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        assert!(!change.is_finished());
        let seen = b.changes(Some(known.last)).await.unwrap();
        assert_eq!(
            (seen.tenants.len(), seen.keys > known.keys),
            (usize::from(keys), false)
        );
        b.give_back_read_lease().await.unwrap();
        change.await.unwrap().unwrap();
        let seen = b.changes(Some(known.last)).await.unwrap();
        assert_eq!((seen.tenants.len(), seen.keys > known.keys), (1, keys));
    }
}

#[tokio::test]
async fn a_lease_that_nobody_gives_back_ends_by_itself() {
    let (a, b) = two().await;
    assert!(take(&b).await);
    let begun = Instant::now();
    a.commit(Commit::new(tenant("aurora"))).await.unwrap();
    let took = begun.elapsed();
    assert!(took > LEASE / 2 && took < LONGEST, "{took:?}");

    // It cannot be longer than that, whatever the clock of the database did meanwhile.
    let set = "UPDATE read_leases SET until = clock_timestamp() + interval '1 hour'";
    assert!(take(&b).await);
    b.try_sql(set).await;
    let begun = Instant::now();
    a.commit(Commit::new(tenant("borealis"))).await.unwrap();
    assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    // And is waited for once.
    assert_eq!(leases(&a).await, 0);
}

#[tokio::test]
async fn no_lease_is_taken_or_prolonged_while_a_change_is_being_made() {
    let (a, b) = two().await;
    a.commit(Commit::new(tenant("aurora"))).await.unwrap();
    for change in [
        "UPDATE tenants SET change = change",
        "UPDATE access_keys_revision SET revision = revision",
    ] {
        let mut session = a.endpoint().connect().await.unwrap();
        let transaction = session.transaction().await.unwrap();
        transaction.batch_execute(change).await.unwrap();
        assert!(!take(&b).await);
        drop(transaction);
        drop(session);
        let begun = Instant::now();
        while !take(&b).await {
            assert!(begun.elapsed() < LONGEST);
        }
        b.give_back_read_lease().await.unwrap();
    }
}

#[tokio::test]
async fn a_change_that_could_not_see_a_lease_is_refused() {
    let (a, _) = two().await;
    let refused = a
        .refuses_sql(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE tenants SET change = change; COMMIT",
        )
        .await;
    assert!(refused.contains("read committed"), "{refused}");
}

#[tokio::test]
async fn a_server_that_stops_gives_its_lease_back() {
    let (a, b) = two().await;
    assert!(take(&b).await);
    assert_eq!(leases(&a).await, 1);
    b.close().await;
    assert_eq!(leases(&a).await, 0);
    assert!(b.take_read_lease(LEASE).await.is_err());
}
