//! Runs of several sittings: what tenants' logins tried is kept as it comes, so that a run that was
//! cut short goes on where it was.
//!
//! Only these attempts are kept: with every pair of a large fleet they take hours. Catalogues,
//! other servers and the control are looked at anew in each sitting, which takes minutes. What was
//! tried longer ago than the bound is tried again, and where it came to be that old in the end, the
//! run proves nothing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalogue;
use super::inventory::{Inventory, Store};
use super::live::Outcome;
use super::model::{Finding, Verdict};
use super::run::Settings;
use crate::secret::sha256_hex;

/// Version of the form of the file.
const FORM: u32 = 1;
/// Longest line that is read.
const LONGEST: u64 = 16 * 1024 * 1024;

/// What a run is bound to: a sitting of another one cannot go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    form: u32,
    tool: String,
    inventory: String,
    seed: u64,
    derangements: u32,
    exhaustive: bool,
    checks: Vec<String>,
}

impl Bound {
    /// Returns what a run of `inventory` is bound to.
    pub fn of(inventory: &Inventory, settings: &Settings) -> Self {
        Self {
            form: FORM,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            inventory: inventory.digest(),
            seed: settings.seed,
            derangements: settings.derangements,
            exhaustive: settings.exhaustive,
            checks: settings.only.clone(),
        }
    }

    /// Says in what another run differs; empty when in nothing.
    fn differs(&self, other: &Self) -> Vec<&'static str> {
        [
            (
                "the version of lerianctl",
                self.tool != other.tool || self.form != other.form,
            ),
            ("the inventory", self.inventory != other.inventory),
            ("the seed", self.seed != other.seed),
            (
                "the number of derangements",
                self.derangements != other.derangements || self.exhaustive != other.exhaustive,
            ),
            ("the checks", self.checks != other.checks),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect()
    }
}

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sitting {
    /// When it began.
    #[schemars(with = "String")]
    pub began_at: Timestamp,
    /// When its last login was tried that the report is of.
    #[schemars(with = "String")]
    pub last_at: Timestamp,
    /// Logins that were tried in it.
    pub logins: u64,
}

/// Why a run does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SittingError {
    /// There is no run that was cut short.
    #[error("no run was cut short")]
    Nothing,
    /// It is under way.
    #[error("a run is under way")]
    Busy,
    /// It was another run.
    #[error("{0} differ from those of the run that was cut short")]
    Other(String),
    /// It was too long ago.
    #[error("the run that was cut short is of {0}, which is too long ago")]
    Old(Timestamp),
    /// The file cannot be used.
    #[error("{0}")]
    File(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Line {
    Run(Bound),
    Sitting { began: Timestamp },
    Tried(Tried),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tried {
    store: String,
    at: Timestamp,
    findings: Vec<Finding>,
    attempts: BTreeMap<String, u64>,
    unclear: BTreeMap<String, Vec<String>>,
    user: Option<String>,
}

/// What a run keeps, and what its earlier sittings kept.
#[derive(Debug)]
pub struct Sittings {
    within: Duration,
    began: Vec<Timestamp>,
    before: BTreeMap<String, Tried>,
    seed: Option<u64>,
    bound: Option<Bound>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    used: BTreeMap<String, Timestamp>,
}

impl Sittings {
    /// Opens the file of runs, for one run at a time; `resume` goes on with the one in it.
    pub fn open(
        path: &Path,
        resume: bool,
        within: Duration,
        now: Timestamp,
    ) -> Result<Self, SittingError> {
        if resume && !path.exists() {
            return Err(SittingError::Nothing);
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SittingError::Busy),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut sittings = Self {
            within,
            began: Vec::new(),
            before: BTreeMap::new(),
            seed: None,
            bound: None,
            state: Mutex::new(State {
                file: None,
                used: BTreeMap::new(),
            }),
        };
        if resume {
            let whole = sittings.read(&mut file)?;
            // What a killed run had half written is taken away.
            file.set_len(whole)?;
            let last = sittings.before.values().map(|tried| tried.at);
            let last = last.chain(sittings.began.iter().copied()).max();
            match last {
                None => return Err(SittingError::Nothing),
                Some(last) if older(last, now, within) => return Err(SittingError::Old(last)),
                Some(_) => {}
            }
        } else {
            file.set_len(0)?;
        }
        file.seek(io::SeekFrom::End(0))?;
        sittings.began.push(now);
        sittings.state = Mutex::new(State {
            file: Some(file),
            used: BTreeMap::new(),
        });
        Ok(sittings)
    }

    /// Reads what is there; returns how much of it is whole.
    fn read(&mut self, file: &mut File) -> Result<u64, SittingError> {
        let mut reader = BufReader::new(file);
        let mut whole = 0;
        loop {
            let mut text = String::new();
            let mut part = io::Read::take(&mut reader, LONGEST);
            let count = part.read_line(&mut text)?;
            let line = text.ends_with('\n').then(|| serde_json::from_str(&text));
            match line {
                Some(Ok(Line::Run(bound))) => {
                    self.seed = Some(bound.seed);
                    self.bound = Some(bound);
                }
                Some(Ok(Line::Sitting { began })) => self.began.push(began),
                Some(Ok(Line::Tried(tried))) => {
                    self.before.insert(tried.store.clone(), tried);
                }
                Some(Err(_)) | None => break,
            }
            whole += count as u64;
        }
        if self.bound.is_none() {
            return Err(SittingError::Nothing);
        }
        Ok(whole)
    }

    /// Returns the seed of the run that goes on.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Binds a new run, or makes sure that it is the one that goes on.
    pub fn bind(&self, bound: &Bound) -> Result<(), SittingError> {
        if let Some(before) = &self.bound {
            let differs = before.differs(bound);
            if !differs.is_empty() {
                return Err(SittingError::Other(differs.join(", ")));
            }
        } else {
            self.write(&Line::Run(bound.clone()))?;
        }
        let began = self.began.last().copied().unwrap_or_default();
        Ok(self.write(&Line::Sitting { began })?)
    }

    fn write(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut state.file {
            // In one write, so that a kill leaves whole lines but for the last.
            Some(file) => file.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }

    /// Returns what an earlier sitting found with a login, unless that is too long ago.
    pub(super) fn earlier(&self, store: &Store) -> Option<Outcome> {
        let key = key(store);
        let tried = self.before.get(&key)?;
        if older(tried.at, Timestamp::now(), self.within) {
            return None;
        }
        let mut outcome = Outcome {
            findings: tried.findings.clone(),
            user: tried.user.clone(),
            ..Outcome::default()
        };
        for (id, count) in &tried.attempts {
            outcome.tried.insert(catalogue::find(id)?.id, *count);
        }
        for (id, reasons) in &tried.unclear {
            outcome
                .unclear
                .insert(catalogue::find(id)?.id, reasons.clone());
        }
        self.note(key, tried.at);
        Some(outcome)
    }

    /// Keeps what a login found.
    pub(super) fn keep(&self, store: &Store, outcome: &Outcome) {
        let named = |id: &&'static str| (*id).to_owned();
        let tried = Tried {
            store: key(store),
            at: Timestamp::now(),
            findings: outcome.findings.clone(),
            attempts: outcome
                .tried
                .iter()
                .map(|(id, n)| (named(id), *n))
                .collect(),
            unclear: outcome
                .unclear
                .iter()
                .map(|(id, reasons)| (named(id), reasons.clone()))
                .collect(),
            user: outcome.user.clone(),
        };
        self.note(tried.store.clone(), tried.at);
        if let Err(error) = self.write(&Line::Tried(tried)) {
            tracing::warn!(%error, "the run cannot be resumed from here");
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.file = None;
        }
    }

    fn note(&self, key: String, at: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used.insert(key, at);
    }

    /// Returns the sittings that the run is of; none when it is of one.
    pub(super) fn told(&self) -> Vec<Sitting> {
        if self.began.len() < 2 {
            return Vec::new();
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = self
            .began
            .iter()
            .skip(1)
            .map(|end| Some(*end))
            .chain([None]);
        self.began
            .iter()
            .zip(ends)
            .filter_map(|(began, end)| {
                let within = |at: &&Timestamp| *at >= began && end.is_none_or(|end| **at < end);
                let mine: Vec<&Timestamp> = state.used.values().filter(within).collect();
                let last = mine.iter().copied().max().copied();
                (last.is_some() || end.is_none()).then(|| Sitting {
                    began_at: *began,
                    last_at: last.unwrap_or(*began),
                    logins: mine.len() as u64,
                })
            })
            .collect()
    }

    /// Takes back that isolation holds where that rests on what was tried too long ago.
    pub(super) fn aged(&self, verdict: Verdict, because: String) -> (Verdict, String) {
        let now = Timestamp::now();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let old = state
            .used
            .values()
            .filter(|at| older(**at, now, self.within));
        match (verdict, old.count()) {
            (Verdict::Holds, old @ 1..) => {
                let hours = self.within.as_secs_f64() / 3600.0;
                let because = format!(
                    "{old} logins were tried more than {hours} h before the end of the run (--resume-within)"
                );
                (Verdict::Unproven, because)
            }
            _ => (verdict, because),
        }
    }
}

/// Returns true when `at` is longer before `now` than `within`, or after it, which no clock that
/// can be relied on says.
fn older(at: Timestamp, now: Timestamp, within: Duration) -> bool {
    let age = now.duration_since(at);
    age.is_negative() && age.unsigned_abs() > Duration::from_mins(1)
        || Duration::try_from(age).is_ok_and(|age| age > within)
}

/// Returns which login a line is about, without naming anybody.
fn key(store: &Store) -> String {
    let text = [
        store.tenant.as_str(),
        &store.cluster(),
        &store.database,
        store.schema.as_deref().unwrap_or_default(),
        &store.login,
    ]
    .join("\0");
    sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::inventory::parse_file;

    fn fleet() -> Inventory {
        let text = ["acme", "blue"].map(|tenant| {
            format!("[[store]]\ntenant = '{tenant}'\nhost = 'db'\ndatabase = '{tenant}'\nlogin = '{tenant}'\n")
        });
        let file = parse_file(&text.concat()).unwrap();
        let stores = file.store.into_iter().map(|store| store.into_store(None));
        Inventory {
            stores: stores.collect(),
            ..Inventory::default()
        }
    }

    fn outcome() -> Outcome {
        let mut outcome = Outcome::default();
        outcome.tried.insert("PG-201", 7);
        outcome.unclear.insert("PG-205", vec!["no route".into()]);
        outcome
    }

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_run_goes_on_with_what_was_whole_and_only_with_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let fleet = fleet();
        let settings = Settings::new(Timestamp::now());
        let bound = Bound::of(&fleet, &settings);
        let open = |resume, now| Sittings::open(&path, resume, DAY, now);
        let now = Timestamp::now();
        assert!(matches!(open(true, now), Err(SittingError::Nothing)));
        let first = open(false, now).unwrap();
        assert!(matches!(open(true, now), Err(SittingError::Busy)));
        first.bind(&bound).unwrap();
        first.keep(&fleet.stores[0], &outcome());
        assert!(first.told().is_empty(), "it is of one sitting");
        drop(first);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        // Killed in the middle of a line.
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("acme"), "{text}");
        text.push_str("{\"is\":\"tried\",\"sto");
        std::fs::write(&path, &text).unwrap();

        let second = open(true, Timestamp::now()).unwrap();
        assert_eq!(second.seed(), Some(settings.seed));
        let other = Bound {
            seed: 1,
            ..bound.clone()
        };
        assert!(
            matches!(second.bind(&other), Err(SittingError::Other(what)) if what == "the seed")
        );
        let other = Bound {
            inventory: "sha256:0".into(),
            ..bound.clone()
        };
        assert!(second.bind(&other).is_err());
        second.bind(&bound).unwrap();
        let found = second.earlier(&fleet.stores[0]).unwrap();
        assert_eq!(
            (found.tried, found.unclear),
            (outcome().tried, outcome().unclear)
        );
        assert!(second.earlier(&fleet.stores[1]).is_none());
        second.keep(&fleet.stores[1], &outcome());
        let told = second.told();
        assert_eq!(told.iter().map(|s| s.logins).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(second.aged(Verdict::Holds, "x".into()).0, Verdict::Holds);
        drop(second);
        // A third sitting has both, and the torn line is gone.
        let third = open(true, Timestamp::now()).unwrap();
        assert_eq!(third.before.len(), 2);
        drop(third);
        // A new run forgets it.
        drop(open(false, Timestamp::now()).unwrap());
        assert!(matches!(open(true, now), Err(SittingError::Nothing)));
    }

    #[test]
    fn what_was_tried_too_long_ago_is_tried_again_and_never_green() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let fleet = fleet();
        let bound = Bound::of(&fleet, &Settings::new(Timestamp::now()));
        let first = Sittings::open(&path, false, DAY, Timestamp::now()).unwrap();
        first.bind(&bound).unwrap();
        first.keep(&fleet.stores[0], &outcome());
        drop(first);
        let later = Timestamp::now() + jiff::SignedDuration::from_hours(25);
        let refused = Sittings::open(&path, true, DAY, later);
        assert!(matches!(refused, Err(SittingError::Old(_))));
        // Good enough to begin with, and too old at the end.
        let short = Duration::from_millis(300);
        let again = Sittings::open(&path, true, Duration::from_mins(1), Timestamp::now());
        let mut again = again.unwrap();
        again.within = short;
        assert!(again.earlier(&fleet.stores[0]).is_some());
        std::thread::sleep(short * 2);
        assert!(again.earlier(&fleet.stores[0]).is_none());
        let (verdict, because) = again.aged(Verdict::Holds, "x".into());
        assert_eq!(verdict, Verdict::Unproven);
        assert!(because.contains("1 logins"), "{because}");
        let leaky = again.aged(Verdict::Refuted, "x".into());
        assert_eq!(leaky, (Verdict::Refuted, "x".into()));
    }
}
