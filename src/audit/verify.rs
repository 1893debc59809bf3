//! Following the chain, and naming what breaks it.

use std::collections::BTreeMap;

use super::{MacKey, canonical, hash};
use crate::contract::audit::{AuditFinding, AuditHead, AuditRecord, AuditVerification};

/// Findings that are kept; more tell nothing new.
const MOST_FINDINGS: usize = 1000;

/// An entry as it was found.
#[derive(Debug)]
pub struct Seen {
    /// Its place, if that is stored beside the record.
    pub place: Option<u64>,
    /// Its record, or why it cannot be understood.
    pub record: Result<AuditRecord, String>,
    /// Its hash as stored.
    pub hash: String,
    /// Its code as stored.
    pub mac: String,
    /// Set when what is stored beside the record says something else than the record.
    pub contradicted: Option<String>,
}

/// Follows a chain, entry by entry.
#[derive(Debug)]
pub struct Verifier<'a> {
    key: Option<&'a MacKey>,
    /// The entry before: its place, its hash as stored, and whether it was found fault with.
    last: Option<(AuditHead, bool)>,
    /// Whether the first entry may be any.
    anywhere: bool,
    anchors: BTreeMap<u64, String>,
    checked: u64,
    findings: Vec<AuditFinding>,
}

impl<'a> Verifier<'a> {
    /// Begins after `after`; where that is absent, with whatever entry comes first.
    pub fn new(key: Option<&'a MacKey>, after: Option<AuditHead>) -> Self {
        Self {
            key,
            anywhere: after.is_none(),
            last: after.map(|head| (head, false)),
            anchors: BTreeMap::new(),
            checked: 0,
            findings: Vec::new(),
        }
    }

    /// Holds the log against an end of it that was kept elsewhere.
    pub fn anchor(&mut self, head: AuditHead) {
        self.anchors.insert(head.sequence, head.hash);
    }

    fn find(&mut self, sequence: u64, problem: &str, reason: impl Into<String>) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(AuditFinding {
                sequence,
                problem: problem.to_owned(),
                reason: reason.into(),
            });
        }
    }

    /// Takes the next entry.
    pub fn take(&mut self, seen: Seen) {
        self.checked += 1;
        let expected = self.last.as_ref().map_or(1, |(head, _)| head.sequence + 1);
        let own = seen.record.as_ref().ok().map(|record| record.sequence);
        let place = seen.place.or(own).unwrap_or(expected);
        let mut faulty = true;
        match &seen.record {
            Err(reason) => self.find(
                place,
                "unreadable",
                format!("it cannot be understood: {reason}"),
            ),
            Ok(record) if record.sequence != place => self.find(
                place,
                "altered",
                format!("it says that its place is {}", record.sequence),
            ),
            Ok(record) if hash(&canonical(record)) != seen.hash => {
                self.find(place, "altered", "its hash is not that of what it says");
            }
            Ok(_) => faulty = false,
        }
        if let Some(reason) = seen.contradicted.filter(|_| !faulty) {
            self.find(place, "altered", reason);
            faulty = true;
        }
        if let Some(key) = self.key.filter(|_| !faulty)
            && !key.vouches(&seen.hash, &seen.mac)
        {
            self.find(
                place,
                "forged",
                "its code was not made with the key of this log",
            );
            faulty = true;
        }
        if let Some(known) = self.anchors.remove(&place)
            && known != seen.hash
        {
            self.find(place, "anchor", "its hash is not the one that was kept");
            faulty = true;
        }
        let Some((before, before_faulty)) = self.last.clone() else {
            if !self.anywhere && place != 1 {
                self.find(
                    1,
                    "missing",
                    format!("entries 1 to {} are missing", place - 1),
                );
            }
            self.last = Some((
                AuditHead {
                    sequence: place,
                    hash: seen.hash,
                },
                faulty,
            ));
            return;
        };
        if place < expected {
            // A copy, or one that stands too late; what follows is held against its neighbours.
            self.findings
                .retain(|finding| finding.sequence != place || finding.problem != "missing");
            self.find(
                place,
                "misplaced",
                format!("it stands after entry {}", before.sequence),
            );
            return;
        }
        if place > expected {
            let reason = if place == expected + 1 {
                format!("entry {expected} is missing")
            } else {
                format!("entries {expected} to {} are missing", place - 1)
            };
            self.find(expected, "missing", reason);
        } else if let Ok(record) = &seen.record
            && record.previous != before.hash
            && !before_faulty
        {
            if before.sequence == 0 {
                self.find(1, "replaced", "it does not begin a log");
            } else {
                self.find(
                    before.sequence,
                    "replaced",
                    format!("entry {place} was made after another one"),
                );
            }
        }
        self.last = Some((
            AuditHead {
                sequence: place,
                hash: seen.hash,
            },
            faulty,
        ));
    }

    /// Returns where the chain stands, to begin the next part from.
    pub fn head(&self) -> AuditHead {
        self.last
            .as_ref()
            .map_or_else(AuditHead::origin, |(head, _)| head.clone())
    }

    /// Returns what was found, up to here.
    pub fn part(self, complete: bool) -> AuditVerification {
        AuditVerification {
            head: self.head(),
            checked: self.checked,
            findings: self.findings,
            complete,
        }
    }

    /// Returns what was found, now that there is nothing more.
    pub fn finish(mut self) -> AuditVerification {
        let end = self.head().sequence;
        if let Some(last) = self.anchors.keys().next_back().copied()
            && last > end
        {
            self.find(
                end + 1,
                "truncated",
                format!("the log ends with entry {end}, and entry {last} was there before"),
            );
        }
        self.part(true)
    }
}
