//! The engine: takes operations in order, one per tenant at a time, and sees each to its end.
//!
//! Everything it needs to go on is in the registry. A new process finds operations that were
//! begun and not ended, and does their remaining steps; a step that was under way is done again,
//! which every step allows. Where several servers share a registry, each takes what nobody works
//! on, and an operation whose server died is taken over once its lease has run out.

mod attempt;
mod effects;
mod lease;
mod run;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::registry::model::now;
use super::service::Tenancy;
use crate::contract::TenantId;

pub(crate) use lease::Leases;

/// Operations that are looked up at once.
const LOOK_AHEAD: u32 = 64;
/// Time between two tries to read the registry.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who watches which operation.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    watched: Mutex<HashMap<String, watch::Sender<u64>>>,
}

impl Progress {
    /// Returns a receiver that is told of every change of an operation from now on.
    pub(crate) fn watch(&self, operation: &str) -> watch::Receiver<u64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched
            .entry(operation.to_owned())
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }

    /// Tells everyone that what they watch may have changed.
    pub(crate) fn all_changed(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in watched.values() {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Tells those who watch an operation that it changed.
    pub(crate) fn changed(&self, operation: &str) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watched.get(operation) {
            sender.send_modify(|count| *count += 1);
        }
    }
}

/// Works on operations until `closing` turns true, then finishes the steps under way.
///
/// `recovered` turns true once every operation that an earlier process left behind was taken up.
pub(crate) async fn work(
    tenancy: Arc<Tenancy>,
    jobs: usize,
    mut closing: watch::Receiver<bool>,
    recovered: Arc<AtomicBool>,
) {
    let mut left = loop {
        match tenancy.registry.interrupted().await {
            Ok(ids) => break ids.into_iter().collect::<HashSet<_>>(),
            Err(error) => {
                tracing::error!(%error, "unfinished operations cannot be read");
                tenancy.metrics.registry_failed();
                tokio::select! {
                    () = tokio::time::sleep(PATIENCE) => {}
                    _ = closing.wait_for(|closing| *closing) => return,
                }
            }
        }
    };
    if !left.is_empty() {
        tracing::info!(count = left.len(), "taking up unfinished operations");
    }
    // Ends when this does, however that comes about.
    let mut keeping = JoinSet::new();
    keeping.spawn(lease::keep(Arc::clone(&tenancy)));
    let mut running: JoinSet<(TenantId, String)> = JoinSet::new();
    let mut busy: HashSet<TenantId> = HashSet::new();
    let mut line: VecDeque<(String, TenantId)> = VecDeque::new();
    while !*closing.borrow() {
        recovered.store(left.is_empty(), Ordering::Relaxed);
        let wait = start(
            &tenancy,
            jobs.max(1),
            &closing,
            &mut running,
            &mut busy,
            &mut line,
        )
        .await;
        tokio::select! {
            Some(ended) = running.join_next() => {
                if let Ok((tenant, operation)) = ended {
                    busy.remove(&tenant);
                    left.remove(&operation);
                }
            }
            () = tenancy.work.notified() => line.clear(),
            () = tokio::time::sleep(wait) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
    while running.join_next().await.is_some() {}
}

/// Starts what can be started; returns how long to wait for more.
async fn start(
    tenancy: &Arc<Tenancy>,
    jobs: usize,
    closing: &watch::Receiver<bool>,
    running: &mut JoinSet<(TenantId, String)>,
    busy: &mut HashSet<TenantId>,
    line: &mut VecDeque<(String, TenantId)>,
) -> Duration {
    let mut looked = false;
    while running.len() < jobs {
        let next = line.iter().position(|(_, tenant)| !busy.contains(tenant));
        let Some((id, tenant)) = next.and_then(|at| line.remove(at)) else {
            if looked {
                return wait(tenancy).await;
            }
            looked = true;
            let limit = LOOK_AHEAD.saturating_add(u32::try_from(jobs).unwrap_or(u32::MAX));
            match tenancy.registry.due(now(), limit).await {
                Ok(due) => *line = due.into(),
                Err(error) => {
                    tracing::error!(%error, "due operations cannot be read");
                    tenancy.metrics.registry_failed();
                    return PATIENCE;
                }
            }
            continue;
        };
        busy.insert(tenant.clone());
        let (tenancy, closing) = (Arc::clone(tenancy), closing.clone());
        running.spawn(async move {
            run::run(&tenancy, &id, &closing).await;
            (tenant, id)
        });
    }
    tenancy.registry.look_every()
}

/// Returns the time until the next waiting operation becomes due.
async fn wait(tenancy: &Tenancy) -> Duration {
    let at = now();
    let longest = tenancy.registry.look_every();
    match tenancy.registry.next_due(at).await {
        Ok(Some(due)) => {
            let until = Duration::try_from(due.duration_since(at)).unwrap_or_default();
            until.saturating_add(Duration::from_millis(1)).min(longest)
        }
        Ok(None) => longest,
        Err(_) => PATIENCE,
    }
}
