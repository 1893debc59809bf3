//! What events of the Tenant Manager do to the tenants of a process.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::tenancy::Tenancy;
use crate::contract::event::EventType;
use crate::contract::{Environment, TenantId};
use crate::events::effect::{is_service_scoped, known};
use crate::events::{Filter, Item, Received, Subscription, TailError, tail};
use crate::link::redis::RedisEndpoint;

/// Pause before the subscription is tried again after the server refused it.
const PAUSE: Duration = Duration::from_secs(5);

/// How events are heard.
#[derive(Debug, Clone)]
pub struct Listening {
    /// The event Redis.
    pub redis: RedisEndpoint,
    /// Environment whose events are heard.
    pub environment: Environment,
    /// Longest pause before a tenant is loaded again, chosen at random so that the processes of a
    /// deployment do not all ask at once; 5 s in the products.
    pub jitter: Duration,
}

/// What an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// Close the pools: the tenant must not be served.
    Evict,
    /// Connect anew.
    Reload,
    /// Ask again at the next request.
    Recheck,
}

/// A demand, or what follows a gap.
#[derive(Debug)]
enum Heard {
    Of(TenantId, Demand),
    /// The subscription stands; events before are lost if the flag is set.
    Listening(bool),
}

/// Listens for as long as the handle is not dropped.
#[derive(Debug)]
pub struct Listener {
    tasks: [JoinHandle<()>; 2],
    first: tokio::sync::watch::Receiver<bool>,
}

impl Listener {
    /// Waits until the subscription stands for the first time.
    pub async fn ready(&mut self) {
        let _ = self.first.wait_for(|ready| *ready).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Starts to listen, and reconnects for ever. After a gap, in which events are lost, every tenant
/// is asked for again.
pub fn listen(tenancy: &Tenancy, listening: Listening) -> Listener {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (ready, first) = tokio::sync::watch::channel(false);
    let obeying = tokio::spawn(obey(tenancy.clone(), receiver, listening.jitter, ready));
    let tenancy = tenancy.clone();
    let hearing = tokio::spawn(async move {
        let subscription = Subscription::Environment(listening.environment.clone());
        loop {
            let hear = |item| {
                let heard = match item {
                    Item::Listening { gap, .. } => Some(Heard::Listening(gap.is_some())),
                    Item::Event(event) => demand(&event, tenancy.service().as_str())
                        .map(|(tenant, demand)| Heard::Of(tenant, demand)),
                    Item::Lost { reason } => {
                        tracing::warn!(reason, "events are being lost");
                        None
                    }
                    Item::Malformed(malformed) => {
                        tracing::warn!(reason = malformed.reason, "an event is dropped");
                        None
                    }
                };
                match heard.map_or(Ok(()), |heard| sender.send(heard)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            let filter = Filter::default();
            match tail(&listening.redis, &subscription, &filter, None, hear).await {
                Ok(()) => return,
                Err(error @ TailError::NoChannel(_)) => {
                    tracing::error!(%error, "events are not heard");
                    return;
                }
                Err(error) => tracing::warn!(%error, "events are not heard"),
            }
            tokio::time::sleep(PAUSE).await;
            // Whatever was said meanwhile is lost.
            let _ = sender.send(Heard::Listening(true));
        }
    });
    Listener {
        tasks: [hearing, obeying],
        first,
    }
}

async fn obey(
    tenancy: Tenancy,
    mut receiver: mpsc::UnboundedReceiver<Heard>,
    jitter: Duration,
    ready: tokio::sync::watch::Sender<bool>,
) {
    while let Some(heard) = receiver.recv().await {
        match heard {
            Heard::Listening(lost) => {
                if lost {
                    tenancy.recheck_all().await;
                }
                ready.send_replace(true);
            }
            Heard::Of(tenant, Demand::Evict) => tenancy.evict(&tenant).await,
            Heard::Of(tenant, Demand::Recheck) => tenancy.recheck(&tenant).await,
            Heard::Of(tenant, Demand::Reload) => {
                let tenancy = tenancy.clone();
                // By itself: a pause must not keep the next event waiting.
                tokio::spawn(async move {
                    tenancy.recheck(&tenant).await;
                    tokio::time::sleep(random_up_to(jitter)).await;
                    tenancy.reload(&tenant).await;
                });
            }
        }
    }
}

fn random_up_to(longest: Duration) -> Duration {
    let fraction =
        f64::from(u32::from_le_bytes(crate::secret::random_bytes())) / f64::from(u32::MAX);
    longest.mul_f64(fraction)
}

/// Returns what an event asks of `service`, and about whom.
fn demand(event: &Received, service: &str) -> Option<(TenantId, Demand)> {
    let kind = known(&event.event_type)?;
    if is_service_scoped(kind) && event.service.as_deref() != Some(service) {
        return None;
    }
    let demand = match kind {
        EventType::TenantCreated => return None,
        EventType::TenantSuspended
        | EventType::TenantDeleted
        | EventType::ServiceDisassociated
        | EventType::ServiceSuspended
        | EventType::ServicePurged => Demand::Evict,
        EventType::CredentialsRotated | EventType::CacheInvalidate => Demand::Reload,
        EventType::TenantActivated
        | EventType::TenantUpdated
        | EventType::ServiceAssociated
        | EventType::ServiceReactivated
        | EventType::ConnectionsUpdated => Demand::Recheck,
    };
    Some((TenantId::canonical(&event.tenant_id)?, demand))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::effect::TYPES;
    use crate::events::received::read;

    const ID: &str = "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21";

    fn of(kind: &str, service: Option<&str>) -> Option<Demand> {
        let mut message = serde_json::json!({ "event_type": kind, "tenant_id": ID });
        if let Some(service) = service {
            message["payload"] = serde_json::json!({ "service_name": service });
        }
        let now = jiff::Timestamp::UNIX_EPOCH;
        let event = read(
            "tenant-events:staging:",
            message.to_string().as_bytes(),
            now,
        )
        .unwrap();
        let (tenant, demand) = demand(&event, "ledger")?;
        assert_eq!(tenant.as_str(), ID.replace('-', ""));
        Some(demand)
    }

    #[test]
    fn every_event_of_ours_is_obeyed_and_none_of_other_services() {
        for kind in TYPES {
            let name = kind.as_str();
            let expected = kind != EventType::TenantCreated;
            assert_eq!(of(name, Some("ledger")).is_some(), expected, "{name}");
            if is_service_scoped(kind) {
                assert_eq!(of(name, Some("tracer")), None, "{name}");
                assert_eq!(of(name, Some("Ledger")), None, "{name}");
                assert_eq!(of(name, None), None, "{name}");
            }
        }
        assert_eq!(of("tenant.suspended", None), Some(Demand::Evict));
        assert_eq!(
            of("tenant.credentials.rotated", Some("ledger")),
            Some(Demand::Reload)
        );
        assert_eq!(of("tenant.unknown", None), None);
    }
}
