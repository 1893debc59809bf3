//! Cross-talk under load: two tenants at the same time, with callers that give up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::session::Session;

/// Requests at the same time.
const WORKERS: usize = 16;
/// Requests that the claim would need to hold for all practical purposes.
const ENOUGH: u64 = 100_000;

/// JW-22: every answer is the asker's own.
pub(super) async fn run(session: &mut Session<'_>) {
    const ID: &str = "JW-22";
    if !session.wants(ID) {
        return;
    }
    let before = session.served().await;
    let own = match before {
        Ok(own) => own,
        Err(reason) => return session.outcome.unproven(ID, reason),
    };
    let [first, second] = &own;
    if first.is_empty() || second.is_empty() {
        let reason = "a tenant has nothing, so its answer cannot be told from another's: allow probe resources (--probe-writes)";
        return session.outcome.unproven(ID, reason);
    }
    let only = [0, 1].map(|side| {
        let (own, other) = (&own[side], &own[1 - side]);
        own.difference(other)
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
    });
    if only.iter().any(std::collections::BTreeSet::is_empty) {
        let reason = "both tenants are shown the same, so their answers cannot be told apart";
        return session.outcome.unproven(ID, reason);
    }
    let paths = [0, 1].map(|side| session.path(side, 0).unwrap_or_default());
    let (mixed, given_up, failed) = (
        [AtomicU64::new(0), AtomicU64::new(0)],
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let (this, only, paths) = (&*session, &only, &paths);
    let (mixed_up, given, broken) = (&mixed, &given_up, &failed);
    stream::iter(0..session.target.means.requests)
        .map(|number| async move {
            let side = (number % 2) as usize;
            let mut random = StdRng::seed_from_u64(u64::from(number));
            // Every fourth caller gives up after 0 to 5 ms, in the middle of whatever goes on.
            let patience = (random.random_range(0..4) == 0)
                .then(|| Duration::from_micros(random.random_range(0..5000)));
            let asked = this.get(side, &paths[side]);
            let answer = match patience {
                None => asked.await,
                Some(patience) => {
                    let Ok(answer) = tokio::time::timeout(patience, asked).await else {
                        given.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    answer
                }
            };
            let ids = answer
                .ok()
                .filter(super::talk::Answer::is_ok)
                .and_then(|a| this.ids(0, &a));
            match ids {
                Some(ids) if ids.is_disjoint(&only[1 - side]) => {}
                Some(_) => {
                    mixed_up[side].fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    broken.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .buffer_unordered(WORKERS)
        .collect::<()>()
        .await;
    let total = u64::from(session.target.means.requests);
    let (given_up, failed) = (given_up.into_inner(), failed.into_inner());
    let answered = total - given_up - failed;
    let object = format!("GET {}", session.collection(0).list);
    let mut found = false;
    for (side, count) in mixed.into_iter().map(AtomicU64::into_inner).enumerate() {
        if count > 0 {
            found = true;
            let evidence = format!(
                "{count} of {answered} answers hold the other tenant's resources ({WORKERS} at the same time, {given_up} given up)"
            );
            session.find(ID, (side, 1 - side), &object, evidence, None);
        }
    }
    let after = session.served().await.err();
    if let (Some(reason), false) = (after, found) {
        return session.outcome.unproven(ID, reason);
    }
    if !found && failed > total / 10 {
        let reason = format!(
            "{failed} of {total} requests failed: too many at the same time for this product"
        );
        return session.outcome.unproven(ID, reason);
    }
    session.outcome.tried.insert(ID, answered);
    session.outcome.out_of.insert(ID, ENOUGH);
}
