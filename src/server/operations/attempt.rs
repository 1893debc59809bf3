//! The steps of one attempt: services and modules side by side, each step recorded before the
//! next.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::run::{Stop, insist};
use crate::contract::admin::OperationState;
use crate::contract::event::channel;
use crate::contract::{ServiceName, TenantId};
use crate::provision::Step;
use crate::secret::Secret;
use crate::server::registry::{
    AssociationState, Operation, OperationKind, RegistryError, StepDone, StepRow, Tenant, Work,
};
use crate::server::service::Tenancy;
use crate::server::vault::Place;

/// How long a removal waits for its events before it goes on.
const EVENT_PATIENCE: Duration = Duration::from_secs(10);

/// An attempt under way.
pub(super) struct Attempt<'a> {
    pub(super) tenancy: &'a Arc<Tenancy>,
    pub(super) operation: &'a Operation,
    pub(super) closing: &'a watch::Receiver<bool>,
    pub(super) tenant: Tenant,
}

impl Attempt<'_> {
    /// Does the steps that are left.
    pub(super) async fn steps(&self) -> Result<(), Stop> {
        let mut left: Vec<&StepRow> = self
            .operation
            .steps
            .iter()
            .filter(|step| step.state != OperationState::Succeeded)
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
        self.tenancy.learn_keys(sealed.values()).await;
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
            attempt: self.operation.attempts,
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
    fn a_failure_outweighs_a_retry() {
        let end = settle(vec![
            Err(Stop::Retry("later".into())),
            Ok(()),
            Err(Stop::Failed(Some(1), "never".into())),
        ]);
        assert!(matches!(end, Err(Stop::Failed(Some(1), _))));
    }
}
