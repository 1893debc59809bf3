//! The tier in this process: bounded, least recently used out first.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::{Fetched, Pair};

/// Answers by pair. Every operation costs the logarithm of their number.
pub(super) struct Memory {
    entries: HashMap<Pair, Entry>,
    /// Pairs by last use, which is unique.
    by_use: BTreeMap<u64, Pair>,
    clock: u64,
    max: usize,
    idle: Duration,
}

struct Entry {
    fetched: Fetched,
    tick: u64,
    used: Instant,
    checked: Option<Instant>,
}

impl Memory {
    /// Builds an empty tier of at most `max` answers (zero is unlimited), each dropped after
    /// `idle` without use.
    pub(super) fn new(max: usize, idle: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            max: if max == 0 { usize::MAX } else { max },
            idle,
        }
    }

    pub(super) fn get(&mut self, pair: &Pair) -> Option<Fetched> {
        self.clock += 1;
        let entry = self.entries.get_mut(pair)?;
        self.by_use.remove(&entry.tick);
        self.by_use.insert(self.clock, pair.clone());
        entry.tick = self.clock;
        entry.used = Instant::now();
        Some(entry.fetched.clone())
    }

    pub(super) fn insert(&mut self, pair: Pair, fetched: Fetched) {
        self.remove(&pair);
        let now = Instant::now();
        while let Some((_, oldest)) = self.by_use.first_key_value() {
            let idle = self
                .entries
                .get(oldest)
                .is_none_or(|entry| now.saturating_duration_since(entry.used) >= self.idle);
            if !idle && self.entries.len() < self.max {
                break;
            }
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
        self.clock += 1;
        let entry = Entry {
            fetched,
            tick: self.clock,
            used: now,
            checked: None,
        };
        self.by_use.insert(self.clock, pair.clone());
        self.entries.insert(pair, entry);
    }

    /// Returns true when an answer is to be checked again: once per interval.
    pub(super) fn is_due(&mut self, pair: &Pair, interval: Duration) -> bool {
        let Some(entry) = self.entries.get_mut(pair) else {
            return false;
        };
        let recently = entry.checked.is_some_and(|at| at.elapsed() < interval);
        if recently || entry.fetched.age() < interval {
            return false;
        }
        entry.checked = Some(Instant::now());
        true
    }

    pub(super) fn remove(&mut self, pair: &Pair) {
        if let Some(entry) = self.entries.remove(pair) {
            self.by_use.remove(&entry.tick);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Pair, &Fetched)> {
        self.entries
            .iter()
            .map(|(pair, entry)| (pair, &entry.fetched))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contract::wire::TenantConfig;

    fn pair(number: u128) -> Pair {
        Pair {
            tenant: format!("{number:032x}").parse().unwrap(),
            service: "ledger".parse().unwrap(),
        }
    }

    fn fetched() -> Fetched {
        let age = Duration::from_mins(1);
        Fetched::new(TenantConfig::default(), age, Instant::now())
    }

    #[test]
    fn an_answer_is_due_once_per_interval() {
        let mut memory = Memory::new(0, Duration::MAX);
        memory.insert(pair(1), fetched());
        assert!(!memory.is_due(&pair(1), Duration::from_hours(1)));
        assert!(memory.is_due(&pair(1), Duration::from_secs(30)));
        assert!(!memory.is_due(&pair(1), Duration::from_secs(30)));
        assert!(!memory.is_due(&pair(2), Duration::ZERO));
    }

    #[test]
    fn idle_answers_make_room_for_new_ones() {
        let mut memory = Memory::new(0, Duration::ZERO);
        memory.insert(pair(1), fetched());
        memory.insert(pair(2), fetched());
        assert!(memory.get(&pair(1)).is_none());
        assert!(memory.get(&pair(2)).is_some());
    }

    proptest! {
        #[test]
        fn it_holds_the_most_recently_used(max in 1_usize..5, steps in prop::collection::vec((0_u128..8, 0_u8..3), 0..100)) {
            let mut memory = Memory::new(max, Duration::MAX);
            let mut model: Vec<u128> = Vec::new();
            for (number, what) in steps {
                let known = model.iter().position(|it| *it == number);
                match what {
                    0 => {
                        known.map(|at| model.remove(at));
                        model.push(number);
                        if model.len() > max {
                            model.remove(0);
                        }
                        memory.insert(pair(number), fetched());
                    }
                    1 => {
                        prop_assert_eq!(memory.get(&pair(number)).is_some(), known.is_some());
                        if let Some(at) = known {
                            model.remove(at);
                            model.push(number);
                        }
                    }
                    _ => {
                        known.map(|at| model.remove(at));
                        memory.remove(&pair(number));
                    }
                }
                let order: Vec<Pair> = memory.by_use.values().cloned().collect();
                let expected: Vec<Pair> = model.iter().map(|it| pair(*it)).collect();
                prop_assert_eq!(order, expected);
                prop_assert_eq!(memory.entries.len(), model.len());
            }
        }
    }
}
