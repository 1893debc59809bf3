//! Sealing anew: whatever a key that is not active any longer has sealed is opened and sealed with
//! the active one, in small bites beside all other work. What is left is told by the records
//! themselves, so that a new process goes on where an old one was killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::audit::Trail;
use super::error::ApiError;
use super::registry::RegistryError;
use super::registry::secrets::{Purpose, Resealed, StoredKey};
use super::service::Tenancy;
use super::vault::VaultError;
use crate::audit::actions;
use crate::contract::admin::{Plan, PlannedStep};
use crate::contract::rekey::{DataKey, KeyStatus, Rekey, RekeyRequest};

/// Values that are sealed anew in one transaction.
const BITE: u32 = 100;
/// Pause after a bite, so that other writes come first.
const PAUSE: Duration = Duration::from_millis(2);
/// Time between two looks when nobody asks: a change that was under way when a key was replaced
/// may have sealed with the old one.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// Pause after a failure of the registry.
const PATIENCE: Duration = Duration::from_secs(5);

/// State of the work.
#[derive(Debug, Default)]
pub(crate) struct Resealing {
    asked: Notify,
    running: AtomicBool,
    unreadable: AtomicU64,
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Registry(error) => error.into(),
            VaultError::MasterKey(reason) => {
                Self::unavailable("keys.unavailable", format!("no key can be made: {reason}"))
            }
        }
    }
}

/// Seals anew what is to be until `closing` turns true.
pub(crate) async fn work(tenancy: Arc<Tenancy>, mut closing: watch::Receiver<bool>) {
    while !*closing.borrow() {
        tenancy.resealing.running.store(true, Ordering::Relaxed);
        let swept = sweep(&tenancy, &closing).await;
        tenancy.resealing.running.store(false, Ordering::Relaxed);
        let wait = match swept {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tenancy.metrics.registry_failed();
                tracing::warn!(%error, "values under old keys wait");
                PATIENCE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = tenancy.resealing.asked.notified() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
}

/// Looks at every key that is not active.
async fn sweep(tenancy: &Tenancy, closing: &watch::Receiver<bool>) -> Result<(), VaultError> {
    let (vault, registry) = (&tenancy.vault, tenancy.registry.as_ref());
    vault.refresh(registry).await?;
    let stored = registry.data_keys().await?;
    let counts = registry.sealed_counts().await?;
    let mut unreadable = 0;
    let active = vault.active();
    for key in counts.keys().filter(|key| **key != active) {
        if !stored.keys.iter().any(|stored| stored.id == *key) {
            let count = counts[key];
            tracing::error!(key, count, "sealed values name a key that is not there");
            unreadable += count;
            continue;
        }
        let mut after = None;
        let mut count = 0_u64;
        loop {
            if *closing.borrow() {
                return Ok(());
            }
            let page = registry.sealed_with(key, after.as_ref(), BITE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.place.clone());
            let mut values = Vec::with_capacity(page.len());
            for before in page {
                match vault.reseal(&before) {
                    Ok(sealed) => values.push(Resealed { before, sealed }),
                    Err(error) => {
                        tracing::error!(place = ?before.place, %error, "a sealed value cannot be opened");
                        unreadable += 1;
                    }
                }
            }
            count += registry.reseal(values).await?;
            tokio::time::sleep(PAUSE).await;
        }
        if count > 0 {
            tracing::info!(key, count, to = active, "values were sealed anew");
            let mut record =
                crate::audit::draft(actions::KEYS_RESEAL, super::registry::model::now());
            record.detail = Some(format!("{count} values from key {key} to {active}"));
            registry.append_audit(vec![record]).await?;
        }
    }
    tenancy
        .resealing
        .unreadable
        .store(unreadable, Ordering::Relaxed);
    Ok(())
}

fn step(action: &str, target: impl Into<String>) -> PlannedStep {
    PlannedStep {
        action: action.to_owned(),
        target: target.into(),
        sql: Vec::new(),
    }
}

impl Tenancy {
    /// `GET /v1/admin/rekey`.
    pub(crate) async fn key_status(&self) -> Result<KeyStatus, ApiError> {
        let stored = self.noted(self.registry.data_keys().await)?;
        let counts = self.noted(self.registry.sealed_counts().await)?;
        let mut keys: Vec<DataKey> = stored
            .keys
            .into_iter()
            .map(|key: StoredKey| DataKey {
                sealed: counts.get(&key.id).copied().unwrap_or(0),
                id: key.id,
                purpose: key.purpose.as_str().to_owned(),
                master_key: key.master,
                active: key.active,
                created_at: key.created_at,
            })
            .collect();
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let under_active = keys
            .iter()
            .filter(|key| key.active && key.purpose == Purpose::Records.as_str())
            .map(|key| key.sealed)
            .sum::<u64>();
        Ok(KeyStatus {
            master_key: self.vault.master().to_owned(),
            remaining: counts.values().sum::<u64>() - under_active,
            unreadable: self.resealing.unreadable.load(Ordering::Relaxed),
            running: self.resealing.running.load(Ordering::Relaxed),
            keys,
        })
    }

    /// `POST /v1/admin/rekey`: makes a new key and has everything sealed with it; goes on
    /// with what an earlier request began.
    pub(crate) async fn rekey(
        &self,
        request: &RekeyRequest,
        trail: Option<&Trail>,
    ) -> Result<Rekey, ApiError> {
        let status = self.key_status().await?;
        let unfinished = status.remaining > status.unreadable;
        let total: u64 = status.keys.iter().map(|key| key.sealed).sum();
        let seal = step("seal anew", "values under older keys");
        let (steps, warning) = if unfinished {
            (
                vec![seal],
                format!(
                    "{} of {total} values are still under older keys: that goes on, and no further key is made",
                    status.remaining
                ),
            )
        } else {
            (
                vec![step("make data key", "records"), seal],
                format!("{total} values are sealed anew, beside all other work"),
            )
        };
        let plan = Plan::new(steps, Vec::new(), vec![warning]);
        if let Some(trail) = trail {
            trail.planned(&plan.hash);
            match (request.dry_run, unfinished) {
                (true, _) => trail.quiet("planned"),
                (false, true) => trail.quiet("unchanged"),
                (false, false) => {}
            }
        }
        super::service::expected(&plan, request.expect_plan.as_deref())?;
        if request.dry_run {
            return Ok(Rekey {
                changed: !unfinished,
                dry_run: true,
                plan,
                status,
            });
        }
        if !unfinished {
            let record = trail.map(|trail| trail.record(200, None));
            let replaced = self
                .vault
                .replace(self.registry.as_ref(), record.into_iter().collect());
            match replaced.await {
                Ok(()) => {
                    if let Some(trail) = trail {
                        trail.recorded();
                    }
                }
                // Another server was faster: there is a new key, which is what was asked for.
                Err(VaultError::Registry(RegistryError::Stale)) => {}
                Err(error) => return Err(error.into()),
            }
            tracing::info!(
                key = self.vault.active(),
                "records are sealed with a new key"
            );
        }
        self.resealing.running.store(true, Ordering::Relaxed);
        self.resealing.asked.notify_one();
        Ok(Rekey {
            changed: !unfinished,
            dry_run: false,
            plan,
            status: self.key_status().await?,
        })
    }
}
