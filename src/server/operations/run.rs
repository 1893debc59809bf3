//! One attempt at an operation.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::attempt::Attempt;
use crate::server::registry::model::now;
use crate::server::registry::{Operation, OperationKind, RegistryError, Setback, TenantKey};
use crate::server::service::Tenancy;

/// First and longest pause before another attempt.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Pause between looks at whether an event was published.
const EVENT_PAUSE: Duration = Duration::from_secs(2);

/// Why an attempt ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The server stops; the operation goes on at its next start.
    Closing,
    /// The operation was ended from outside, or is someone else's now.
    Ended,
    /// Something does not answer; try again later.
    Retry(String),
    /// It cannot succeed as things are.
    Failed(Option<u32>, String),
}

impl Stop {
    /// Of two lanes that stopped, the one that decides.
    pub(super) fn worse(self, other: Self) -> Self {
        let rank = |stop: &Self| match stop {
            Self::Retry(_) => 0,
            Self::Failed(..) => 1,
            Self::Ended => 2,
            Self::Closing => 3,
        };
        if rank(&other) > rank(&self) {
            other
        } else {
            self
        }
    }
}

/// Works on an operation until it ends, must wait, or the server stops.
pub(super) async fn run(tenancy: &Arc<Tenancy>, id: &str, closing: &watch::Receiver<bool>) {
    // Number of the attempt, once it was begun; known here even if it panics.
    let number = OnceLock::new();
    let attempt = AssertUnwindSafe(attempt(tenancy, id, closing, &number)).catch_unwind();
    let (operation, stop) = match attempt.await {
        Ok(None) => return,
        Ok(Some((operation, outcome))) => match outcome {
            Ok(()) => {
                tracing::info!(operation = id, kind = operation.kind.as_str(), tenant = %operation.tenant_id, "operation succeeded");
                tenancy
                    .metrics
                    .operation_ended(operation.kind.as_str(), "succeeded");
                return;
            }
            Err(stop) => (Some(operation), stop),
        },
        Err(_) => (
            None,
            Stop::Failed(None, "internal error; the server's log says more".into()),
        ),
    };
    let number = number.get().copied();
    let failures = operation.as_ref().map_or(0, |operation| operation.failures);
    let kind = operation
        .as_ref()
        .map_or("unknown", |operation| operation.kind.as_str());
    let (setback, reason) = match stop {
        Stop::Closing | Stop::Ended => {
            if let Some(number) = number
                && let Err(error) = tenancy.registry.release(id, number).await
            {
                tracing::debug!(operation = id, %error, "the lease is left to run out");
            }
            return;
        }
        Stop::Retry(reason) => {
            tracing::warn!(operation = id, kind, %reason, "operation is tried again later");
            tenancy.metrics.operation_retried();
            (Setback::Retry(now() + pause(failures)), reason)
        }
        Stop::Failed(position, reason) => {
            tracing::error!(operation = id, kind, %reason, "operation failed");
            tenancy.metrics.operation_ended(kind, "failed");
            (Setback::Failed(position), reason)
        }
    };
    let noted = insist(tenancy, closing, || {
        tenancy
            .registry
            .setback(id, number, setback.clone(), &reason)
    });
    if noted.await.is_ok() {
        tenancy.progress.changed(id);
    }
}

/// Returns a pause that doubles with every failure, half of it at random.
fn pause(failures: u32) -> Duration {
    let (first, longest) = PAUSE;
    let whole = first.saturating_mul(1 << failures.min(16)).min(longest);
    whole.mul_f64(rand::random_range(0.5..1.0))
}

async fn attempt(
    tenancy: &Arc<Tenancy>,
    id: &str,
    closing: &watch::Receiver<bool>,
    number: &OnceLock<u32>,
) -> Option<(Operation, Result<(), Stop>)> {
    let found = insist(tenancy, closing, || tenancy.registry.operation(id)).await;
    let waiting = found.ok().flatten()?;
    if must_wait_for_event(tenancy, &waiting).await {
        let at = now() + EVENT_PAUSE;
        let reason = "waits until products were told of the new credentials";
        let defer = insist(tenancy, closing, || {
            tenancy
                .registry
                .setback(id, None, Setback::Defer(at), reason)
        });
        if defer.await.is_ok() {
            tenancy.progress.changed(id);
        }
        return None;
    }
    let mut asked = Instant::now();
    let begun = insist(tenancy, closing, || {
        asked = Instant::now();
        tenancy.registry.begin(id)
    });
    let operation = begun.await.ok().flatten()?;
    let _ = number.set(operation.attempts);
    let hold = tenancy.leases.hold(id, asked, tenancy.registry.lease());
    tracing::info!(operation = id, kind = operation.kind.as_str(), tenant = %operation.tenant_id, attempt = operation.attempts, "working on operation");
    tenancy.progress.changed(id);
    let tenant = insist(tenancy, closing, || {
        tenancy.registry.tenant(TenantKey::Id(&operation.tenant_id))
    })
    .await;
    let outcome = match tenant {
        Ok(Some(tenant)) => {
            let attempt = Attempt {
                tenancy,
                operation: &operation,
                closing,
                tenant,
            };
            tokio::select! {
                outcome = attempt.steps() => outcome,
                () = hold.lost() => {
                    tracing::warn!(operation = id, "the lease was not renewed in time; whoever has it goes on");
                    Err(Stop::Ended)
                }
            }
        }
        Ok(None) => Err(Stop::Failed(None, "its tenant does not exist".into())),
        Err(stop) => Err(stop),
    };
    Some((operation, outcome))
}

/// A login is not retired before products were told that there is another one.
async fn must_wait_for_event(tenancy: &Tenancy, operation: &Operation) -> bool {
    operation.kind == OperationKind::Retire
        && !operation.parameters.immediate
        && tenancy.publishes
        && tenancy
            .registry
            .outbox_waits(&operation.tenant_id, operation.created_at)
            .await
            .unwrap_or(true)
}

/// Asks the registry again and again while it is not available.
pub(super) async fn insist<T, F: Future<Output = Result<T, RegistryError>>>(
    tenancy: &Tenancy,
    closing: &watch::Receiver<bool>,
    mut ask: impl FnMut() -> F,
) -> Result<T, Stop> {
    let mut failures = 0;
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(RegistryError::Stale) => return Err(Stop::Ended),
            Err(RegistryError::Corrupt(reason)) => {
                tenancy.metrics.registry_failed();
                return Err(Stop::Failed(
                    None,
                    format!("the registry is broken: {reason}"),
                ));
            }
            Err(RegistryError::Unavailable(reason) | RegistryError::Unclear(reason)) => {
                tracing::error!(%reason, "the registry is not available; operations wait");
                tenancy.metrics.registry_failed();
                let mut closing = closing.clone();
                tokio::select! {
                    () = tokio::time::sleep(pause(failures)) => failures += 1,
                    _ = closing.wait_for(|closing| *closing) => return Err(Stop::Closing),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for failures in 0..40 {
            let pause = pause(failures);
            assert!(pause <= PAUSE.1);
            assert!(pause >= PAUSE.0 / 2);
        }
        assert!(pause(20) >= PAUSE.1 / 2);
    }
}
