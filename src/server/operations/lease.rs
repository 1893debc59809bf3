//! Leases: until when the operations that this server works on are surely its own.
//!
//! Another server takes an operation over once its lease has run out by the registry's clock.
//! Here it counts as lost a good while earlier, by a clock that started before the registry was
//! asked, so that two servers never work on the same one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::server::service::Tenancy;

/// The operations that this server works on.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<String, watch::Sender<Option<Instant>>>>,
}

/// An operation that is worked on; given up when dropped.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    leases: &'a Leases,
    id: String,
    until: watch::Receiver<Option<Instant>>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Option<Instant>>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an operation is worked on, for good when `lease` is `None`; the registry was
    /// asked at `asked`.
    pub(super) fn hold(&self, id: &str, asked: Instant, lease: Option<Duration>) -> Hold<'_> {
        let (sender, until) = watch::channel(lease.map(|lease| asked + surely(lease)));
        self.lock().insert(id.to_owned(), sender);
        Hold {
            leases: self,
            id: id.to_owned(),
            until,
        }
    }

    fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Extends what was kept; what was asked for and not kept is lost now.
    fn renewed(&self, asked_for: &[String], kept: &[String], until: Instant) {
        let held = self.lock();
        for id in asked_for {
            if let Some(sender) = held.get(id) {
                let until = if kept.contains(id) {
                    until
                } else {
                    Instant::now()
                };
                sender.send_replace(Some(until));
            }
        }
    }
}

impl Hold<'_> {
    /// Returns once the operation may be someone else's.
    pub(super) async fn lost(&self) {
        let mut changes = self.until.clone();
        loop {
            let until = *changes.borrow_and_update();
            let Some(until) = until else {
                return std::future::pending().await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                // The sender lives as long as this.
                _ = changes.changed() => {}
            }
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.id);
    }
}

/// Returns how much of a lease counts here.
fn surely(lease: Duration) -> Duration {
    lease.mul_f64(0.75)
}

/// Renews what is worked on, for ever.
pub(super) async fn keep(tenancy: Arc<Tenancy>) {
    let Some(lease) = tenancy.registry.lease() else {
        return;
    };
    loop {
        tokio::time::sleep(lease / 5).await;
        let ids = tenancy.leases.ids();
        if ids.is_empty() {
            continue;
        }
        let asked = Instant::now();
        match tokio::time::timeout(lease / 3, tenancy.registry.renew(&ids)).await {
            Ok(Ok(kept)) => tenancy.leases.renewed(&ids, &kept, asked + surely(lease)),
            Ok(Err(error)) => tracing::warn!(%error, "leases were not renewed"),
            Err(_) => tracing::warn!("leases were not renewed: the registry does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_not_renewed_is_lost_before_anyone_else_can_have_it() {
        let lease = Duration::from_millis(800);
        let leases = Leases::default();
        let begun = Instant::now();
        let hold = leases.hold("a", begun, Some(lease));
        let other = leases.hold("b", begun, Some(lease));
        let for_good = leases.hold("c", begun, None);
        let ids = ["a".to_owned(), "b".to_owned()];
        leases.renewed(&ids, &ids[..1], Instant::now() + surely(lease));
        other.lost().await;
        assert!(hold.lost().now_or_never().is_none(), "it was renewed");
        hold.lost().await;
        assert!(begun.elapsed() >= surely(lease));
        assert!(for_good.lost().now_or_never().is_none());
        assert_eq!(leases.ids().len(), 3);
        drop((hold, other, for_good));
        assert!(leases.ids().is_empty());
    }
}
