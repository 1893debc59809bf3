//! The dispatcher: publishes the events that changes left in the outbox.
//!
//! At least once and in order per tenant: an event is marked only after Redis acknowledged it,
//! and nothing of a tenant is sent while an earlier event of the same tenant is held back.
//! Events that make products sleep (up to five seconds each, one after another) are spread when
//! they come in bulk, so that the products' buffers do not overflow. A tenant for which something
//! else waits behind such an event is never held back. Of several servers on one registry one
//! publishes, so that neither order nor pace depends on how many there are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::registry::{OutboxRow, RegistryError};
use super::service::Tenancy;
use crate::contract::TenantId;
use crate::events::Publisher;
use crate::link::LinkError;
use crate::link::redis::RedisEndpoint;

/// Events that are looked at, and published, at once.
const BATCH: u32 = 256;
/// Paced events that may go out at once, well below the hundred that a product buffers.
const BURST: u32 = 40;
/// Time that a product may take for one paced event.
const PACE: Duration = Duration::from_secs(5);
/// Longest time for one batch. Another server that takes over waits for longer than this.
const DEADLINE: Duration = Duration::from_secs(4);
/// How long nobody else publishes after this server was last sure to be the one that does.
const GRACE: Duration = Duration::from_secs(5);
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Time for what is left when the server stops.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Why a pass over the outbox ended early.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("Redis did not acknowledge within {DEADLINE:?}")]
    Silence,
}

/// What the dispatcher remembers between two looks at the outbox.
#[derive(Debug, Default)]
struct Memory {
    /// By channel.
    allowances: HashMap<String, Allowance>,
    /// Published and not marked yet, because the registry did not answer: never sent again.
    unmarked: Vec<(i64, u64)>,
}

/// How many paced events a channel may take now.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When the next one is added.
    next: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            next: now + PACE,
        }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        while self.next <= now && self.left < BURST {
            self.left += 1;
            self.next += PACE;
        }
        if self.left == BURST {
            self.next = now + PACE;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}

/// Publishes until `closing` turns true.
pub(crate) async fn dispatch(
    tenancy: Arc<Tenancy>,
    endpoint: RedisEndpoint,
    mut closing: watch::Receiver<bool>,
) {
    let mut publisher = Publisher::new(endpoint.clone());
    let mut memory = Memory::default();
    let mut failures = 0_u32;
    while !*closing.borrow() {
        let pass = pass(&tenancy, &mut publisher, &mut memory);
        let ended = tokio::select! {
            ended = pass => ended,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let wait = match ended {
            Ok(held_until) => {
                if failures > 0 {
                    tracing::info!("events are published again");
                }
                failures = 0;
                tenancy.metrics.publishing_interrupted(false);
                let longest = tenancy.registry.look_every();
                held_until.map_or(longest, |at| at.duration_since(Instant::now()).min(longest))
            }
            Err(trouble) => {
                if failures == 0 {
                    tracing::warn!(%trouble, "events are not published; they are kept and tried again");
                }
                match trouble {
                    Trouble::Registry(_) => tenancy.metrics.registry_failed(),
                    Trouble::Link(_) | Trouble::Silence => tenancy.metrics.publish_failed(),
                }
                publisher = Publisher::new(endpoint.clone());
                let pause = PAUSE
                    .0
                    .saturating_mul(1 << failures.min(16))
                    .min(PAUSE.1)
                    .mul_f64(rand::random_range(0.5..1.0));
                failures += 1;
                tenancy.metrics.publishing_interrupted(true);
                // New events do not make Redis come back.
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = closing.wait_for(|closing| *closing) => {}
                }
                continue;
            }
        };
        tokio::select! {
            () = tenancy.mail.notified() => {}
            () = tokio::time::sleep(wait) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
    // What was changed just before the end is told now if Redis is there; if not, it is kept.
    let mut publisher = Publisher::new(endpoint);
    let last = pass(&tenancy, &mut publisher, &mut memory);
    let _ = tokio::time::timeout(LAST_MOMENT, last).await;
}

/// Looks at everything that waits and publishes what may go; returns when to look again if
/// something was held back.
async fn pass(
    tenancy: &Tenancy,
    publisher: &mut Publisher,
    memory: &mut Memory,
) -> Result<Option<Instant>, Trouble> {
    let mut held: HashSet<TenantId> = HashSet::new();
    let mut released: HashSet<TenantId> = HashSet::new();
    let mut held_until: Option<Instant> = None;
    let mut after = 0;
    mark(tenancy, memory).await?;
    loop {
        let sure = Instant::now();
        if !tenancy.registry.leads(GRACE).await? {
            return Ok(None);
        }
        let rows = tenancy.registry.outbox(after, BATCH).await?;
        let Some(last) = rows.last() else {
            return Ok(held_until);
        };
        after = last.sequence;
        let mut batch = Vec::with_capacity(rows.len());
        for row in rows {
            if held.contains(&row.tenant_id) {
                continue;
            }
            if row.paced && !released.contains(&row.tenant_id) {
                let now = Instant::now();
                let allowance = memory
                    .allowances
                    .entry(row.channel.clone())
                    .or_insert_with(|| Allowance::new(now));
                if !allowance.take(now) {
                    if tenancy.registry.outbox_urgent(&row.tenant_id).await? {
                        released.insert(row.tenant_id.clone());
                    } else {
                        let next = allowance.next;
                        held_until = Some(held_until.map_or(next, |at: Instant| at.min(next)));
                        held.insert(row.tenant_id);
                        continue;
                    }
                }
            }
            batch.push(row);
        }
        publish(tenancy, publisher, batch, memory, sure + DEADLINE).await?;
    }
}

async fn publish(
    tenancy: &Tenancy,
    publisher: &mut Publisher,
    batch: Vec<OutboxRow>,
    memory: &mut Memory,
    deadline: Instant,
) -> Result<(), Trouble> {
    if batch.is_empty() {
        return Ok(());
    }
    let messages: Vec<(String, String)> = batch
        .iter()
        .map(|row| (row.channel.clone(), row.body.clone()))
        .collect();
    let counts = tokio::time::timeout_at(deadline, publisher.publish(&messages))
        .await
        .map_err(|_| Trouble::Silence)??;
    let mut unheard = 0;
    for (row, count) in batch.iter().zip(&counts) {
        if *count == 0 {
            unheard += 1;
            tracing::warn!(
                event = row.event_id,
                event_type = row.event_type,
                tenant = %row.tenant_id,
                channel = row.channel,
                "no product received the event"
            );
        } else {
            tracing::debug!(
                event = row.event_id,
                event_type = row.event_type,
                tenant = %row.tenant_id,
                receivers = count,
                "event published"
            );
        }
    }
    tenancy
        .metrics
        .events_published(u64::try_from(batch.len()).unwrap_or(u64::MAX), unheard);
    let receivers = batch.iter().zip(counts);
    memory
        .unmarked
        .extend(receivers.map(|(row, count)| (row.sequence, count)));
    mark(tenancy, memory).await
}

/// Marks what was published.
async fn mark(tenancy: &Tenancy, memory: &mut Memory) -> Result<(), Trouble> {
    if !memory.unmarked.is_empty() {
        tenancy.registry.published(memory.unmarked.clone()).await?;
        memory.unmarked.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_bounded_and_the_allowance_comes_back() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let taken = (0..1000).filter(|_| allowance.take(start)).count();
        assert_eq!(taken, usize::try_from(BURST).unwrap());
        assert!(!allowance.take(start + PACE / 2));
        assert!(allowance.take(start + PACE));
        assert!(!allowance.take(start + PACE));
        let later = start + PACE * 1000;
        let taken = (0..1000).filter(|_| allowance.take(later)).count();
        assert_eq!(taken, usize::try_from(BURST).unwrap());
    }
}
