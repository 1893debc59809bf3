//! Whether what is remembered of the registry is still true, where other servers change it.
//!
//! Every request with a key or a token waits for a question to the registry that was asked after
//! the request came in: who was changed since the last time, and were keys? Those tenants are
//! forgotten, and keys are read again. One question serves all requests that wait for it, so that
//! its price is shared. Without an answer nothing that is remembered is given, and nobody is let
//! in: a suspension or a withdrawn key that another server acknowledged holds here at once, or
//! there is no answer at all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::keys::ApiKeys;
use super::registry::{Registry, RegistryError};
use super::service::{Answers, Tenancy};

/// Pause after a failure, so that a registry that is away is not asked without end.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest time for a question and what follows from its answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// How often in a row nobody may have come before the question is asked.
const QUIET: u32 = 2;
/// Longest time that the question is held back.
const LONGEST: Duration = Duration::from_millis(1);

type Waiting = oneshot::Sender<Result<(), RegistryError>>;

/// Those who wait for the next question.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    waiting: Mutex<Vec<Waiting>>,
    bell: Notify,
}

impl Freshness {
    /// Returns once everything that was acknowledged before this call is known here.
    pub(crate) async fn wait(&self) -> Result<(), RegistryError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.lock();
            waiting.push(sender);
            if waiting.len() == 1 {
                self.bell.notify_one();
            }
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(RegistryError::Unavailable("the server stops".into())))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets requests that are ready to run join the next question, until `enough` of them wait or
    /// nobody else comes: the question costs as much for one as for many.
    async fn gather(&self, enough: usize) {
        let (begun, mut known, mut quiet) = (Instant::now(), self.lock().len(), 0);
        while known > 0 && known < enough && quiet < QUIET && begun.elapsed() < LONGEST {
            tokio::task::yield_now().await;
            let now = self.lock().len();
            quiet = if now == known { quiet + 1 } else { 0 };
            known = now;
        }
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.lock())
    }
}

/// Asks for those who wait, for ever.
pub(crate) async fn watch(freshness: Arc<Freshness>, tenancy: Arc<Tenancy>, keys: Arc<ApiKeys>) {
    let registry = tenancy.registry.as_ref();
    // Number of the last change that is known here; `None` when nothing is.
    let mut known = None;
    // Half of those who ask at the same time: while one half waits for its answer, the other is
    // served.
    let mut enough = 0;
    loop {
        freshness.bell.notified().await;
        loop {
            freshness.gather(enough).await;
            let waiting = freshness.take();
            if waiting.is_empty() {
                break;
            }
            // Only those taken before the question is sent: who comes later waits for the next.
            let asked = ask(registry, &tenancy.answers, &keys, &mut known);
            let outcome = tokio::time::timeout(DEADLINE, asked)
                .await
                .unwrap_or_else(|_| Err(late()));
            let failed = outcome.is_err();
            enough = usize::midpoint(waiting.len(), freshness.lock().len());
            tenancy
                .metrics
                .freshness_asked(waiting.len() as u64, !failed);
            for waiter in waiting {
                // Whoever asked may have gone.
                let _ = waiter.send(outcome.clone());
            }
            if failed {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn late() -> RegistryError {
    RegistryError::Unavailable(format!(
        "what other servers changed was not known within {} s",
        DEADLINE.as_secs()
    ))
}

async fn ask(
    registry: &dyn Registry,
    answers: &Answers,
    keys: &ApiKeys,
    known: &mut Option<i64>,
) -> Result<(), RegistryError> {
    if let Some(number) = *known {
        match registry.changes(Some(number)).await {
            Ok(changes) => {
                // Before anything is forgotten: if it fails, the same question is asked again.
                keys.follow(registry, changes.keys).await?;
                for tenant in &changes.tenants {
                    answers.forget(tenant);
                }
                *known = Some(changes.last);
                return Ok(());
            }
            Err(error) => {
                tracing::debug!(%error, "everything that is remembered is forgotten");
                *known = None;
            }
        }
    }
    // First the number, then the forgetting: what changes in between is in the next answer too.
    let changes = registry.changes(None).await?;
    keys.follow(registry, changes.keys).await?;
    answers.forget_all();
    *known = Some(changes.last);
    Ok(())
}
