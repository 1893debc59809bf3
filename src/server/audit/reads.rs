//! Very many reads, taken together: one record per caller, tenant, service, address and result
//! over a moment, with its count and its first and last time.
//!
//! Credentials are handed out only while their reads can still be noted here, and while what was
//! noted reaches the log: once the memory is full, or nothing has reached the log for
//! [`OLDEST`], they are refused.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{AUTH_REFUSED, ip, name};
use crate::contract::audit::AuditRecord;
use crate::server::auth::Caller;
use crate::server::error::ApiError;
use crate::server::registry::model::now;
use crate::server::service::Tenancy;

/// Parts of the memory, so that workers seldom wait for each other. A power of two.
const SHARDS: usize = 16;
/// Different reads that a part holds.
const PER_SHARD: usize = 4096;
/// Different failures of strangers that a part holds; more are taken together whoever they are,
/// so that strangers cannot fill the memory.
const STRANGERS: usize = 64;
/// Time over which reads are taken together.
const MOMENT: Duration = Duration::from_millis(500);
/// Longest time that noted reads may wait for the log before credentials are refused.
const OLDEST: Duration = Duration::from_secs(10);

/// A read, or a failed authentication.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'a> {
    /// Name of the action.
    pub(crate) action: &'static str,
    /// Who, if that is known.
    pub(crate) caller: Option<&'a Caller>,
    /// From where.
    pub(crate) peer: Option<IpAddr>,
    /// Canonical id of the tenant.
    pub(crate) tenant: &'a str,
    /// Service, or what was asked for by whom the server does not know.
    pub(crate) service: &'a str,
    /// `ok` or a code.
    pub(crate) result: &'static str,
    /// HTTP status.
    pub(crate) status: u16,
}

impl Read<'_> {
    fn who(&self) -> &str {
        self.caller.map_or("", |caller| &*caller.id)
    }
}

#[derive(Debug)]
struct Entry {
    action: &'static str,
    caller: Option<Caller>,
    peer: Option<IpAddr>,
    tenant: Box<str>,
    service: Box<str>,
    result: &'static str,
    status: u16,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Entry {
    fn is(&self, read: &Read<'_>) -> bool {
        self.action == read.action
            && self.result == read.result
            && self.peer == read.peer
            && *self.tenant == *read.tenant
            && *self.service == *read.service
            && self.caller.as_ref().map_or("", |caller| &*caller.id) == read.who()
    }

    fn record(self) -> AuditRecord {
        let mut record = crate::audit::draft(self.action, self.last);
        name(&mut record, self.caller.as_ref());
        record.peer = self.peer.map(ip);
        record.tenant = Some(self.tenant.into()).filter(|tenant: &String| !tenant.is_empty());
        let what = Some(String::from(self.service)).filter(|what| !what.is_empty());
        if self.action == AUTH_REFUSED {
            record.detail = what;
        } else {
            record.service = what;
        }
        self.result.clone_into(&mut record.result);
        record.status = Some(self.status);
        record.count = self.count;
        if self.count > 1 {
            record.first = Some(self.first);
        }
        record
    }
}

#[derive(Debug, Default)]
struct Shard {
    /// By hash of what tells reads apart; the next free number after a collision.
    entries: HashMap<u64, Entry>,
    strangers: usize,
}

/// What was noted and is not in the log yet.
#[derive(Debug)]
pub(crate) struct Reads {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    begun: Instant,
    /// When everything noted before was in the log, in milliseconds since the beginning.
    written: AtomicU64,
    /// Set while there is no room for more.
    full: AtomicBool,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            begun: Instant::now(),
            written: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The refusal while the audit log cannot be written.
pub(crate) fn unavailable() -> ApiError {
    ApiError::unavailable(
        "audit.unavailable",
        "the audit log cannot be written, so nothing that belongs into it is done",
    )
}

impl Reads {
    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes a read; refused when it cannot be promised that it reaches the log.
    pub(crate) fn note(&self, read: &Read<'_>) -> Result<(), ApiError> {
        let waiting = self
            .elapsed()
            .saturating_sub(self.written.load(Ordering::Relaxed));
        if self.full.load(Ordering::Relaxed) || u128::from(waiting) > OLDEST.as_millis() {
            return Err(unavailable());
        }
        if self.count(read) {
            Ok(())
        } else {
            Err(unavailable())
        }
    }

    /// Notes a failed authentication, whoever it was.
    pub(crate) fn note_failure(&self, read: &Read<'_>) {
        self.count(read);
    }

    fn count(&self, read: &Read<'_>) -> bool {
        let at = now();
        let mut key = self.hasher.hash_one((
            read.who(),
            read.tenant,
            read.service,
            read.peer,
            read.result,
            read.action,
        ));
        let mut shard = lock(&self.shards[usize::try_from(key % SHARDS as u64).unwrap_or(0)]);
        let Shard { entries, strangers } = &mut *shard;
        let mut read = *read;
        loop {
            match entries.get_mut(&key) {
                Some(entry) if entry.is(&read) => {
                    entry.count += 1;
                    entry.last = entry.last.max(at);
                    return true;
                }
                Some(_) => key = key.wrapping_add(1),
                None if read.caller.is_none() && *strangers >= STRANGERS => {
                    if read.peer.is_none() && read.service == "more" {
                        // Its own entry is the last that a stranger gets.
                        break;
                    }
                    // A fixed place in this part for all that are too many.
                    read.peer = None;
                    read.tenant = "";
                    read.service = "more";
                    key = 0;
                }
                None => break,
            }
        }
        if entries.len() >= PER_SHARD {
            return false;
        }
        *strangers += usize::from(read.caller.is_none());
        entries.insert(
            key,
            Entry {
                action: read.action,
                caller: read.caller.cloned(),
                peer: read.peer,
                tenant: read.tenant.into(),
                service: read.service.into(),
                result: read.result,
                status: read.status,
                count: 1,
                first: at,
                last: at,
            },
        );
        true
    }

    /// Takes what was noted, in order of time.
    fn take(&self) -> Vec<AuditRecord> {
        let mut taken: Vec<Entry> = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            if shard.entries.is_empty() {
                continue;
            }
            shard.strangers = 0;
            taken.extend(shard.entries.drain().map(|(_, entry)| entry));
        }
        taken.sort_by_key(|entry| (entry.last, entry.first));
        taken.into_iter().map(Entry::record).collect()
    }
}

/// Brings what was noted into the log, moment by moment, until `drained` turns true: then no
/// request is open any longer, and what is left is brought there last.
pub(crate) async fn flush(tenancy: Arc<Tenancy>, mut drained: watch::Receiver<bool>) {
    let mut waiting = Vec::new();
    loop {
        let last = *drained.borrow();
        let written = once(&tenancy, &mut waiting).await;
        if last {
            if !written {
                let count = waiting.len();
                tracing::error!(count, "reads of credentials were not recorded in the end");
            }
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(MOMENT) => {}
            _ = drained.wait_for(|drained| *drained) => {}
        }
    }
}

/// Brings what was noted into the log; what cannot be brought there waits.
async fn once(tenancy: &Tenancy, waiting: &mut Vec<AuditRecord>) -> bool {
    let reads = &tenancy.reads;
    let taken_at = reads.elapsed();
    waiting.extend(reads.take());
    if waiting.is_empty() {
        reads.written.store(taken_at, Ordering::Relaxed);
        return true;
    }
    match tenancy.registry.append_audit(waiting.clone()).await {
        Ok(()) => {
            waiting.clear();
            reads.full.store(false, Ordering::Relaxed);
            reads.written.store(taken_at, Ordering::Relaxed);
            true
        }
        Err(error) => {
            tenancy.metrics.registry_failed();
            tracing::error!(%error, count = waiting.len(), "reads of credentials wait to be recorded");
            let full = waiting.len() >= SHARDS * PER_SHARD;
            reads.full.store(full, Ordering::Relaxed);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::actions;
    use crate::server::auth::CallerKind;

    fn caller(id: &str) -> Caller {
        let role = crate::contract::permission::Role::BreakGlass;
        Caller::new(CallerKind::BootstrapKey, id, "a key", role)
    }

    fn read<'a>(caller: &'a Caller, tenant: &'a str, result: &'static str) -> Read<'a> {
        Read {
            action: actions::CREDENTIALS_READ,
            caller: Some(caller),
            peer: None,
            tenant,
            service: "ledger",
            result,
            status: 200,
        }
    }

    #[test]
    fn the_same_reads_are_one_record_and_others_are_not() {
        let reads = Reads::default();
        let (a, b) = (caller("a"), caller("b"));
        for _ in 0..1000 {
            reads.note(&read(&a, "one", "ok")).unwrap();
        }
        reads.note(&read(&a, "two", "ok")).unwrap();
        reads.note(&read(&b, "one", "ok")).unwrap();
        reads
            .note(&read(&a, "one", "association.suspended"))
            .unwrap();
        let mut records = reads.take();
        assert_eq!(records.len(), 4);
        records.sort_by_key(|record| std::cmp::Reverse(record.count));
        assert_eq!(records[0].count, 1000);
        assert!(records[0].first.unwrap() <= records[0].at);
        assert!(
            records[1..]
                .iter()
                .all(|record| record.count == 1 && record.first.is_none())
        );
        assert!(reads.take().is_empty());
    }

    #[test]
    fn a_full_memory_refuses_reads_and_strangers_cannot_fill_it() {
        let reads = Reads::default();
        for number in 0..200_000_u32 {
            reads.note_failure(&Read {
                action: "auth.refused",
                caller: None,
                peer: Some(IpAddr::from(number.to_be_bytes())),
                tenant: "",
                service: "GET /v1/tenants/active",
                result: "auth.invalid_key",
                status: 401,
            });
        }
        let a = caller("a");
        reads.note(&read(&a, "one", "ok")).unwrap();
        let records = reads.take();
        assert!(
            records.len() <= SHARDS * (STRANGERS + 2),
            "{}",
            records.len()
        );
        let counted: u64 = records.iter().map(|record| record.count).sum();
        assert_eq!(counted, 200_001, "none is left out");

        let mut refused = None;
        for number in 0..2 * SHARDS * PER_SHARD {
            if let Err(error) = reads.note(&read(&a, &number.to_string(), "ok")) {
                refused = Some(error.code);
                break;
            }
        }
        assert_eq!(refused, Some("audit.unavailable"));
    }

    #[test]
    fn reads_are_refused_when_nothing_reaches_the_log_for_too_long() {
        let mut reads = Reads::default();
        let a = caller("a");
        let past = OLDEST + Duration::from_secs(1);
        reads.begun = Instant::now().checked_sub(past).unwrap();
        assert_eq!(
            reads.note(&read(&a, "one", "ok")).unwrap_err().code,
            "audit.unavailable"
        );
        reads.written.store(reads.elapsed(), Ordering::Relaxed);
        reads.note(&read(&a, "one", "ok")).unwrap();
    }
}
