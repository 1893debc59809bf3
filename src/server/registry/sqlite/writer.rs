//! The one thread that writes. Whatever waits is committed together, so that the price of
//! reaching the disk is shared.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::server::registry::RegistryError;

/// Writes that are committed together at most.
const BATCH: usize = 256;
/// How long a start waits for a predecessor to let go of the file.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Whether a write must survive a power cut, or only the death of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// On disk when the call returns.
    PowerCut,
    /// With the operating system when the call returns; for what can be done again.
    ProcessDeath,
}

/// A write that waits for its turn.
trait Job: Send {
    fn durability(&self) -> Durability;
    fn run(&mut self, connection: &Connection) -> Result<(), RegistryError>;
    fn reply(self: Box<Self>, outcome: Result<(), RegistryError>);
}

struct Write<T, F> {
    durability: Durability,
    change: Option<F>,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, RegistryError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, RegistryError> + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, connection: &Connection) -> Result<(), RegistryError> {
        let change = self
            .change
            .take()
            .ok_or_else(|| RegistryError::Corrupt("a write ran twice".into()))?;
        self.result = Some(change(connection)?);
        Ok(())
    }

    fn reply(self: Box<Self>, outcome: Result<(), RegistryError>) {
        let answer = match (outcome, self.result) {
            (Ok(()), Some(result)) => Ok(result),
            (Ok(()), None) => Err(RegistryError::Corrupt("a write gave no result".into())),
            (Err(error), _) => Err(error),
        };
        // Whoever asked may have gone; the write stands all the same.
        let _ = self.reply.send(answer);
    }
}

enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The way to the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
}

impl Writer {
    /// Starts the thread, which keeps `lock` until it ends.
    pub(super) fn start(connection: Connection, lock: FileLock) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel();
        std::thread::Builder::new()
            .name("registry-writer".into())
            .spawn(move || {
                let closing = work(connection, &jobs);
                drop(lock);
                if let Some(reply) = closing {
                    let _ = reply.send(());
                }
            })?;
        Ok(Self { queue })
    }

    /// Runs `write` in a transaction and returns once it is committed.
    pub(super) async fn write<T, F>(
        &self,
        durability: Durability,
        write: F,
    ) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, RegistryError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Write {
            durability,
            change: Some(write),
            result: None,
            reply,
        };
        let closed = || RegistryError::Unavailable("it is closed".into());
        self.queue
            .send(Message::Job(Box::new(job)))
            .map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Finishes what was asked for before and ends the thread.
    pub(super) async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).is_ok() {
            let _ = done.await;
        }
    }
}

/// Works until told to close, or until nobody is left to ask; returns whom to tell.
fn work(connection: Connection, jobs: &mpsc::Receiver<Message>) -> Option<oneshot::Sender<()>> {
    let mut synchronous = None;
    let mut closing = None;
    while closing.is_none() {
        let Ok(first) = jobs.recv() else { break };
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Job(job) => batch.push(job),
                Message::Close(reply) => {
                    closing = Some(reply);
                    break;
                }
            }
            if batch.len() < BATCH {
                next = jobs.try_recv().ok();
            }
        }
        if !batch.is_empty() {
            run_batch(&connection, batch, &mut synchronous);
        }
    }
    let _ = connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)");
    drop(connection);
    closing
}

fn run_batch(
    connection: &Connection,
    batch: Vec<Box<dyn Job>>,
    synchronous: &mut Option<Durability>,
) {
    let durability = if batch
        .iter()
        .any(|job| job.durability() == Durability::PowerCut)
    {
        Durability::PowerCut
    } else {
        Durability::ProcessDeath
    };
    let begun = (|| {
        if *synchronous != Some(durability) {
            let word = match durability {
                Durability::PowerCut => "FULL",
                Durability::ProcessDeath => "NORMAL",
            };
            connection.pragma_update(None, "synchronous", word)?;
            *synchronous = Some(durability);
        }
        connection.execute_batch("BEGIN IMMEDIATE")
    })();
    if let Err(error) = begun {
        let error = RegistryError::from(error);
        for job in batch {
            job.reply(Err(error.clone()));
        }
        return;
    }

    let alone = batch.len() == 1;
    let mut outcomes = Vec::with_capacity(batch.len());
    // Set when SQLite ended the transaction by itself: then nothing of the batch remains.
    let mut lost: Option<RegistryError> = None;
    for mut job in batch {
        if let Some(error) = &lost {
            outcomes.push((job, Err(error.clone())));
            continue;
        }
        let outcome = run_one(connection, job.as_mut(), alone);
        if connection.is_autocommit() {
            lost = Some(match &outcome {
                Err(error @ RegistryError::Unavailable(_)) => error.clone(),
                _ => RegistryError::Unavailable("the transaction was rolled back".into()),
            });
        }
        outcomes.push((job, outcome));
    }

    let committed = match lost {
        Some(error) => Err(error),
        None => connection.execute_batch("COMMIT").map_err(|error| {
            let _ = connection.execute_batch("ROLLBACK");
            RegistryError::from(error)
        }),
    };
    for (job, outcome) in outcomes {
        job.reply(outcome.and_then(|()| committed.clone()));
    }
}

/// Runs a job so that its failure leaves nothing of it, and the others untouched.
fn run_one(connection: &Connection, job: &mut dyn Job, alone: bool) -> Result<(), RegistryError> {
    if !alone {
        connection.execute_batch("SAVEPOINT job")?;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| job.run(connection)))
        .unwrap_or_else(|_| Err(RegistryError::Corrupt("a write panicked".into())));
    if connection.is_autocommit() {
        return outcome;
    }
    match (&outcome, alone) {
        (Ok(()), true) => {}
        (Ok(()), false) => connection.execute_batch("RELEASE job")?,
        // Alone, the empty transaction that is left may as well be committed.
        (Err(_), true) => connection.execute_batch("ROLLBACK; BEGIN IMMEDIATE")?,
        (Err(_), false) => connection.execute_batch("ROLLBACK TO job; RELEASE job")?,
    }
    outcome
}

/// Keeps other servers away from the registry. Let go of when dropped, or when the process dies.
#[derive(Debug)]
pub(in crate::server) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock beside `registry`, waiting a moment for a predecessor that is ending.
    pub(in crate::server) fn take(registry: &Path) -> Result<Self, String> {
        let mut name = registry.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let file = super::private_file(&path)
            .map_err(|error| format!("`{}` cannot be opened: {error}", path.display()))?;
        let patience = Instant::now() + LOCK_PATIENCE;
        loop {
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err("another server is using it; stop that one first".into());
                }
                Err(error) => {
                    return Err(format!("`{}` cannot be locked: {error}", path.display()));
                }
            }
        }
    }
}
