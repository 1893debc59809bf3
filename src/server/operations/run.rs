//! One attempt at an operation.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::contract::event::channel;
use crate::contract::{ServiceName, TenantId};
use crate::provision::Step;
use crate::secret::Secret;
use crate::server::registry::model::now;
use crate::server::registry::{
    AssociationState, Operation, OperationKind, RegistryError, Setback, StepDone, StepRow, Tenant,
    TenantKey, Work,
};
use crate::server::service::Tenancy;
use crate::server::vault::Place;

/// First and longest pause before another attempt.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Pause between looks at whether an event was published.
const EVENT_PAUSE: Duration = Duration::from_secs(2);
/// How long a removal waits for its events before it goes on.
const EVENT_PATIENCE: Duration = Duration::from_secs(10);

/// Why an attempt ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The server stops; the operation goes on at its next start.
    Closing,
    /// The operation was ended from outside.
    Ended,
    /// Something does not answer; try again later.
    Retry(String),
    /// It cannot succeed as things are.
    Failed(Option<u32>, String),
}

impl Stop {
    /// Of two lanes that stopped, the one that decides.
    fn worse(self, other: Self) -> Self {
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

/// An attempt under way.
pub(super) struct Attempt<'a> {
    pub(super) tenancy: &'a Arc<Tenancy>,
    pub(super) operation: &'a Operation,
    closing: &'a watch::Receiver<bool>,
    tenant: Tenant,
}

/// Works on an operation until it ends, must wait, or the server stops.
pub(super) async fn run(tenancy: &Arc<Tenancy>, id: &str, closing: &watch::Receiver<bool>) {
    let attempt = AssertUnwindSafe(attempt(tenancy, id, closing)).catch_unwind();
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
    let failures = operation.as_ref().map_or(0, |operation| operation.failures);
    let kind = operation
        .as_ref()
        .map_or("unknown", |operation| operation.kind.as_str());
    let (setback, reason) = match stop {
        Stop::Closing | Stop::Ended => return,
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
        tenancy.registry.setback(id, setback.clone(), &reason)
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
) -> Option<(Operation, Result<(), Stop>)> {
    let found = insist(tenancy, closing, || tenancy.registry.operation(id)).await;
    let waiting = found.ok().flatten()?;
    if must_wait_for_event(tenancy, &waiting).await {
        let at = now() + EVENT_PAUSE;
        let reason = "waits until products were told of the new credentials";
        let defer = insist(tenancy, closing, || {
            tenancy.registry.setback(id, Setback::Defer(at), reason)
        });
        if defer.await.is_ok() {
            tenancy.progress.changed(id);
        }
        return None;
    }
    let begun = insist(tenancy, closing, || tenancy.registry.begin(id)).await;
    let operation = begun.ok().flatten()?;
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
            attempt.steps().await
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
            Err(RegistryError::Unavailable(reason)) => {
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

impl Attempt<'_> {
    /// Does the steps that are left.
    async fn steps(&self) -> Result<(), Stop> {
        let mut left: Vec<&StepRow> = self
            .operation
            .steps
            .iter()
            .filter(|step| step.state != crate::contract::admin::OperationState::Succeeded)
            .collect();
        while let Some(first) = left.first() {
            if first.work.service().is_none() {
                let step = left.remove(0);
                self.step(step, None, &BTreeMap::new()).await?;
                continue;
            }
            let count = left
                .iter()
                .take_while(|step| step.work.service().is_some())
                .count();
            let mut services: BTreeMap<&ServiceName, Vec<&StepRow>> = BTreeMap::new();
            for step in left.drain(..count) {
                if let Some(service) = step.work.service() {
                    services.entry(service).or_default().push(step);
                }
            }
            let ends = join_all(
                services
                    .into_iter()
                    .map(|(service, steps)| self.service(service, steps)),
            );
            settle(ends.await)?;
        }
        Ok(())
    }

    /// Does the steps of one service: its modules side by side, then what waits for them.
    async fn service(&self, service: &ServiceName, steps: Vec<&StepRow>) -> Result<(), Stop> {
        let removed = self
            .tenant
            .associations
            .get(service)
            .is_none_or(|association| association.state == AssociationState::Purged);
        let removing = matches!(
            self.operation.kind,
            OperationKind::Remove | OperationKind::Purge
        );
        if removed && !removing {
            for step in steps {
                self.done(step, "skipped: the service was removed meanwhile", None)
                    .await?;
            }
            return Ok(());
        }
        let mut left = steps.as_slice();
        while let Some(first) = left.first() {
            let count = left
                .iter()
                .take_while(|step| step.work.lane().is_some())
                .count();
            if count == 0 {
                self.step(first, None, &BTreeMap::new()).await?;
                left = &left[1..];
                continue;
            }
            let (these, rest) = left.split_at(count);
            let passwords = self.passwords(service, these).await?;
            let mut lanes: BTreeMap<&str, Vec<&StepRow>> = BTreeMap::new();
            for step in these {
                if let Some((_, module)) = step.work.lane() {
                    lanes.entry(module).or_default().push(step);
                }
            }
            let ends = join_all(lanes.into_values().map(|lane| self.lane(lane, &passwords)));
            settle(ends.await)?;
            left = rest;
        }
        Ok(())
    }

    async fn lane(
        &self,
        lane: Vec<&StepRow>,
        passwords: &BTreeMap<String, Secret>,
    ) -> Result<(), Stop> {
        for (at, step) in lane.iter().enumerate() {
            let next = lane.get(at + 1).map(|next| next.position);
            self.step(step, next, passwords).await?;
        }
        Ok(())
    }

    /// Opens the passwords that steps need, by module.
    async fn passwords(
        &self,
        service: &ServiceName,
        steps: &[&StepRow],
    ) -> Result<BTreeMap<String, Secret>, Stop> {
        let needed = steps.iter().find_map(|step| match &step.work {
            Work::Cluster { apply, version, .. } if needs_password(apply) => {
                Some((step.position, *version))
            }
            _ => None,
        });
        let Some((position, version)) = needed else {
            return Ok(BTreeMap::new());
        };
        let tenant = &self.tenant.id;
        let sealed = insist(self.tenancy, self.closing, || {
            self.tenancy.registry.credentials(tenant, service, version)
        })
        .await?;
        sealed
            .into_iter()
            .map(|(module, sealed)| {
                let place = Place {
                    tenant,
                    service,
                    module: &module,
                    version,
                };
                let password = self
                    .tenancy
                    .vault
                    .open_password(&place, &sealed)
                    .map_err(|error| Stop::Failed(Some(position), error.to_string()))?;
                Ok((module, password))
            })
            .collect()
    }

    /// Does one step and records it before the next.
    async fn step(
        &self,
        step: &StepRow,
        next: Option<u32>,
        passwords: &BTreeMap<String, Secret>,
    ) -> Result<(), Stop> {
        if *self.closing.borrow() {
            return Err(Stop::Closing);
        }
        match &step.work {
            Work::Cluster {
                service,
                module,
                apply,
                ..
            } => {
                let detail = self
                    .cluster_step(step.position, service, module, apply, passwords.get(module))
                    .await?;
                self.done(step, &detail, next).await
            }
            Work::AwaitEvents => {
                let detail = self.await_events().await?;
                self.done(step, detail, next).await
            }
            registry => self.effect(step, registry).await,
        }
    }

    async fn cluster_step(
        &self,
        position: u32,
        service: &ServiceName,
        module: &str,
        apply: &Step,
        password: Option<&Secret>,
    ) -> Result<String, Stop> {
        let database = self
            .tenant
            .associations
            .get(service)
            .and_then(|association| association.databases.get(module));
        let Some(database) = database else {
            return Err(Stop::Failed(
                Some(position),
                format!("the registry has no database for module `{module}`"),
            ));
        };
        let mut spec = database.spec.clone();
        if let Some(settings) = &self.operation.parameters.settings {
            spec.settings = settings.clone();
        }
        if needs_password(apply) && password.is_none() {
            return Err(Stop::Failed(
                Some(position),
                format!("the registry has no credentials for module `{module}`"),
            ));
        }
        let foreign = if matches!(apply, Step::Prove { .. }) {
            let tenant: &TenantId = &self.tenant.id;
            insist(self.tenancy, self.closing, || {
                self.tenancy
                    .registry
                    .foreign_database(&spec.cluster, spec.mode, tenant)
            })
            .await?
        } else {
            None
        };
        let result = self
            .tenancy
            .provisioner
            .run(&spec, apply, password, foreign.as_ref())
            .await;
        result.map_err(|error| {
            if error.is_transient() {
                Stop::Retry(error.to_string())
            } else {
                Stop::Failed(Some(position), error.to_string())
            }
        })
    }

    /// Waits until the events of the change were published, but not for ever: what is removed
    /// must go even while Redis is down.
    async fn await_events(&self) -> Result<&'static str, Stop> {
        if channel(&self.tenant.environment).is_none() {
            return Ok("products of this environment do not listen for events");
        }
        if !self.tenancy.publishes {
            return Ok("this server has no Redis to publish events on");
        }
        let until = self.operation.created_at;
        let give_up = tokio::time::Instant::now() + EVENT_PATIENCE;
        let mut closing = self.closing.clone();
        loop {
            let waits = insist(self.tenancy, self.closing, || {
                self.tenancy.registry.outbox_waits(&self.tenant.id, until)
            })
            .await?;
            if !waits {
                return Ok("published");
            }
            if tokio::time::Instant::now() >= give_up {
                return Ok("not published yet: Redis does not answer; they follow later");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                _ = closing.wait_for(|closing| *closing) => return Err(Stop::Closing),
            }
        }
    }

    /// Records a step.
    pub(super) async fn done(
        &self,
        step: &StepRow,
        detail: &str,
        next: Option<u32>,
    ) -> Result<(), Stop> {
        let done = self.step_done(step, detail, next);
        insist(self.tenancy, self.closing, || {
            self.tenancy.registry.step_done(done.clone())
        })
        .await?;
        self.tenancy.progress.changed(&self.operation.id);
        Ok(())
    }

    pub(super) fn step_done(&self, step: &StepRow, detail: &str, next: Option<u32>) -> StepDone {
        StepDone {
            operation: self.operation.id.clone(),
            position: step.position,
            detail: detail.to_owned(),
            next,
        }
    }

    /// Asks the registry until it answers, or the server stops.
    pub(super) async fn insist<T, F: Future<Output = Result<T, RegistryError>>>(
        &self,
        ask: impl FnMut() -> F,
    ) -> Result<T, Stop> {
        insist(self.tenancy, self.closing, ask).await
    }
}

fn needs_password(step: &Step) -> bool {
    matches!(
        step,
        Step::Roles { .. } | Step::OpenLogin { .. } | Step::Prove { .. }
    )
}

fn settle(ends: Vec<Result<(), Stop>>) -> Result<(), Stop> {
    let worst = ends.into_iter().filter_map(Result::err).reduce(Stop::worse);
    worst.map_or(Ok(()), Err)
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

    #[test]
    fn a_failure_outweighs_a_retry() {
        let end = settle(vec![
            Err(Stop::Retry("later".into())),
            Ok(()),
            Err(Stop::Failed(Some(1), "never".into())),
        ]);
        assert!(matches!(end, Err(Stop::Failed(Some(1), _))));
    }
}
