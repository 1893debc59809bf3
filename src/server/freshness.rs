//! Whether what is remembered of the registry is still true, where other servers change it.
//!
//! A request with a key or a token waits for a question to the registry that was asked after the
//! request came in: who was changed since the last time, and were keys? Those tenants are
//! forgotten, and keys are read again. One question serves all requests that wait for it, so that
//! its price is shared. Without an answer nothing that is remembered is given, and nobody is let
//! in: a suspension or a withdrawn key that another server acknowledged holds here at once, or
//! there is no answer at all.
//!
//! A busy server takes a read lease: until that ends or is given back no server changes anything,
//! the database sees to it, so that requests need not ask. Whoever is about to change something
//! calls it in, which takes as long as a few questions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, oneshot};

use super::keys::ApiKeys;
use super::registry::RegistryError;
use super::service::Tenancy;

/// Pause after a failure, so that a registry that is away is not asked without end.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest time for a question and what follows from its answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// How often in a row nobody may have come before the question is asked.
const QUIET: u32 = 2;
/// Longest time that the question is held back.
const LONGEST: Duration = Duration::from_millis(1);

/// A read lease by the database's clock: a change waits as long as that when the server that holds
/// it hangs.
const LEASE: Duration = Duration::from_millis(1500);
/// How long it is relied on, from before it was asked for, by this machine's clock: the rest is for
/// clocks that do not run alike.
const RELIED_ON: Duration = Duration::from_secs(1);
/// Time from a lease to the one that follows it.
const RENEW: Duration = Duration::from_millis(400);
/// Somebody has to have come in so long a time before that, or the lease is given back.
const USED: Duration = Duration::from_millis(20);
/// So many requests in so long a time are worth a lease, which costs two small transactions.
const BUSY: (usize, Duration) = (20, Duration::from_millis(100));
/// Pause after a lease was called in or refused: changes seldom come alone.
const RESPECT: Duration = Duration::from_millis(100);

type Waiting = oneshot::Sender<Result<(), RegistryError>>;

/// Those who wait for the next question, and until when nobody has to.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    waiting: Mutex<Vec<Waiting>>,
    bell: Notify,
    /// Until when the lease is relied on, by [`clock`]; never without a lease.
    relied_on: AtomicU64,
    /// Whether it was, lately.
    used: AtomicBool,
    called_in: Notify,
}

/// Nanoseconds by a clock that goes on while the machine sleeps.
fn clock() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    Duration::try_from(clock_gettime(clock)).map_or(u64::MAX, nanoseconds)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Freshness {
    /// Returns once everything that was acknowledged before this call is known here.
    pub(crate) async fn wait(&self) -> Result<(), RegistryError> {
        if clock() < self.relied_on.load(Ordering::Acquire) {
            // Read first: the one who writes has the line to itself.
            if !self.used.load(Ordering::Relaxed) {
                self.used.store(true, Ordering::Relaxed);
            }
            return Ok(());
        }
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

    /// Has the lease given back: someone is about to change something.
    pub(crate) fn call_in(&self) {
        self.called_in.notify_one();
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

/// Asks for those who wait, and keeps the lease, for ever.
pub(crate) async fn watch(freshness: Arc<Freshness>, tenancy: Arc<Tenancy>, keys: Arc<ApiKeys>) {
    let mut watch = Watch {
        freshness,
        tenancy,
        keys,
        known: None,
        enough: 0,
        leased: None,
        not_before: Instant::now(),
        came: (Instant::now(), 0),
    };
    loop {
        let freshness = Arc::clone(&watch.freshness);
        tokio::select! {
            biased;
            () = freshness.called_in.notified() => watch.give_back("called in").await,
            () = due(watch.leased, &freshness.used) => watch.renew().await,
            () = freshness.bell.notified() => watch.serve().await,
        }
    }
}

/// Returns when the lease is to be renewed.
async fn due(leased: Option<Instant>, used: &AtomicBool) {
    let Some(leased) = leased else {
        return std::future::pending().await;
    };
    tokio::time::sleep_until((leased + RENEW).into()).await;
    used.store(false, Ordering::Relaxed);
    tokio::time::sleep(USED).await;
}

struct Watch {
    freshness: Arc<Freshness>,
    tenancy: Arc<Tenancy>,
    keys: Arc<ApiKeys>,
    /// Number of the last change that is known here; `None` when nothing is.
    known: Option<i64>,
    /// Half of those who ask at the same time: while one half waits for its answer, the other is
    /// served.
    enough: usize,
    /// Since when there is a lease.
    leased: Option<Instant>,
    /// No lease is taken before.
    not_before: Instant,
    /// How many came, and since when.
    came: (Instant, usize),
}

impl Watch {
    /// Asks for those who wait.
    async fn serve(&mut self) {
        self.freshness.gather(self.enough).await;
        // One that is not relied on any longer is as good as none.
        let due = self.leased.is_none_or(|since| since.elapsed() > RENEW);
        let lease = due && self.is_busy();
        if !self.turn(lease).await {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn is_busy(&mut self) -> bool {
        let now = Instant::now();
        let (since, came) = self.came;
        if now.duration_since(since) > BUSY.1 {
            self.came = (now, 0);
        }
        came >= BUSY.0 && now >= self.not_before
    }

    /// Renews the lease, if anybody relies on it.
    async fn renew(&mut self) {
        if self.freshness.used.load(Ordering::Relaxed) {
            self.turn(true).await;
        } else {
            self.give_back("not used").await;
        }
    }

    /// Asks, for those who wait now and, if `lease` is set, for those who will come while the lease
    /// is relied on; returns whether there was an answer.
    async fn turn(&mut self, lease: bool) -> bool {
        let lease = if lease { self.take_lease().await } else { None };
        // Only those taken before the question is sent: who comes later waits for the next.
        let waiting = self.freshness.take();
        if waiting.is_empty() && lease.is_none() {
            return true;
        }
        // With a lease nothing is changed from before the question on.
        let outcome = tokio::time::timeout(DEADLINE, self.ask())
            .await
            .unwrap_or_else(|_| Err(late()));
        let answered = outcome.is_ok();
        match lease {
            Some(until) if answered => {
                self.freshness.relied_on.store(until, Ordering::Release);
            }
            Some(_) => self.give_back("no answer").await,
            None => {}
        }
        self.enough = usize::midpoint(waiting.len(), self.freshness.lock().len());
        self.came.1 += waiting.len();
        self.tenancy
            .metrics
            .freshness_asked(waiting.len() as u64, answered);
        for waiter in waiting {
            // Whoever asked may have gone.
            let _ = waiter.send(outcome.clone());
        }
        answered
    }

    /// Takes a lease, or the next one; returns until when it can be relied on.
    async fn take_lease(&mut self) -> Option<u64> {
        // What was never asked is not relied on: the first question comes before the first lease.
        self.known?;
        let (leased, begun) = (Instant::now(), clock());
        let taken = self.tenancy.registry.take_read_lease(LEASE).await;
        if matches!(taken, Ok(true)) {
            self.tenancy.metrics.read_lease("taken");
            self.leased = Some(leased);
            return Some(begun.saturating_add(nanoseconds(RELIED_ON)));
        }
        if let Err(error) = taken {
            tracing::debug!(%error, "no read lease was taken");
        }
        self.tenancy.metrics.read_lease("refused");
        // Whoever is in the way may be waiting for the one before.
        self.give_back("refused").await;
        None
    }

    /// Gives the lease back, if there is one; from here on requests ask.
    async fn give_back(&mut self, why: &str) {
        self.freshness.relied_on.store(0, Ordering::Release);
        self.not_before = Instant::now() + RESPECT;
        if self.leased.take().is_some() {
            self.tenancy.metrics.read_lease("given_back");
            // If it fails, it ends by itself.
            if let Err(error) = self.tenancy.registry.give_back_read_lease().await {
                tracing::debug!(%error, why, "a read lease was not given back");
            }
        }
    }

    /// Asks, and forgets what was changed.
    async fn ask(&mut self) -> Result<(), RegistryError> {
        let registry = self.tenancy.registry.as_ref();
        let (answers, keys) = (&self.tenancy.answers, &self.keys);
        if let Some(number) = self.known {
            match registry.changes(Some(number)).await {
                Ok(changes) => {
                    // Before anything is forgotten: if it fails, the same question is asked again.
                    keys.follow(registry, changes.keys).await?;
                    for tenant in &changes.tenants {
                        answers.forget(tenant);
                    }
                    self.known = Some(changes.last);
                    return Ok(());
                }
                Err(error) => {
                    tracing::debug!(%error, "everything that is remembered is forgotten");
                    self.known = None;
                }
            }
        }
        // First the number, then the forgetting: what changes in between is in the next answer too.
        let changes = registry.changes(None).await?;
        keys.follow(registry, changes.keys).await?;
        answers.forget_all();
        self.known = Some(changes.last);
        Ok(())
    }
}

fn late() -> RegistryError {
    RegistryError::Unavailable(format!(
        "what other servers changed was not known within {} s",
        DEADLINE.as_secs()
    ))
}
