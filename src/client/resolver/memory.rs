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

    /// Returns an answer that is younger than `ttl`; an older one is dropped.
    pub(super) fn fresh(&mut self, pair: &Pair, ttl: Duration, now: Instant) -> Option<Fetched> {
        let found = self.get(pair, now)?;
        if found.age(now) < ttl {
            return Some(found);
        }
        self.remove(pair);
        None
    }

    fn get(&mut self, pair: &Pair, now: Instant) -> Option<Fetched> {
        self.clock += 1;
        let entry = self.entries.get_mut(pair)?;
        self.by_use.remove(&entry.tick);
        self.by_use.insert(self.clock, pair.clone());
        entry.tick = self.clock;
        entry.used = now;
        Some(entry.fetched.clone())
    }

    pub(super) fn insert(&mut self, pair: Pair, fetched: Fetched, now: Instant) {
        self.remove(&pair);
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
    pub(super) fn is_due(&mut self, pair: &Pair, interval: Duration, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(pair) else {
            return false;
        };
        let recently = entry
            .checked
            .is_some_and(|at| now.saturating_duration_since(at) < interval);
        if recently || entry.fetched.age(now) < interval {
            return false;
        }
        entry.checked = Some(now);
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

    fn fetched(now: Instant) -> Fetched {
        let age = Duration::from_mins(1);
        Fetched::new(TenantConfig::default(), age, now)
    }

    #[test]
    fn an_answer_is_due_once_per_interval() {
        let now = Instant::now();
        let mut memory = Memory::new(0, Duration::MAX);
        memory.insert(pair(1), fetched(now), now);
        assert!(!memory.is_due(&pair(1), Duration::from_hours(1), now));
        assert!(memory.is_due(&pair(1), Duration::from_secs(30), now));
        assert!(!memory.is_due(&pair(1), Duration::from_secs(30), now));
        assert!(!memory.is_due(&pair(2), Duration::ZERO, now));
    }

    #[test]
    fn idle_answers_make_room_for_new_ones() {
        let now = Instant::now();
        let mut memory = Memory::new(0, Duration::ZERO);
        memory.insert(pair(1), fetched(now), now);
        memory.insert(pair(2), fetched(now), now);
        assert!(memory.get(&pair(1), now).is_none());
        assert!(memory.get(&pair(2), now).is_some());
    }

    const TTL: u64 = 1000;
    const IDLE: u64 = 300;
    const INTERVAL: u64 = 200;

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        /// An answer with the age that it has already, as one from the shared tier.
        Insert(u128, u64),
        Ask(u128),
        Remove(u128),
        Due(u128),
    }

    fn step() -> impl Strategy<Value = Step> {
        let pair = 0_u128..6;
        prop_oneof![
            2 => (0_u64..400).prop_map(Step::Wait),
            3 => (pair.clone(), 0_u64..1200).prop_map(|(pair, age)| Step::Insert(pair, age)),
            4 => pair.clone().prop_map(Step::Ask),
            1 => pair.clone().prop_map(Step::Remove),
            2 => pair.prop_map(Step::Due),
        ]
    }

    /// The cache told as a story: a list, the least recently used first, searched from end to end.
    #[derive(Debug, Default)]
    struct Model {
        now: u64,
        known: Vec<Known>,
    }

    #[derive(Debug, Clone)]
    struct Known {
        pair: u128,
        version: u64,
        /// When it would have been said, with its age at the start; may lie before the story.
        said: i64,
        used: u64,
        checked: Option<u64>,
    }

    impl Model {
        fn now(&self) -> i64 {
            i64::try_from(self.now).unwrap()
        }

        fn take(&mut self, pair: u128) -> Option<Known> {
            let at = self.known.iter().position(|it| it.pair == pair)?;
            Some(self.known.remove(at))
        }

        fn insert(&mut self, pair: u128, version: u64, age: u64, max: usize) {
            self.take(pair);
            // From the least recently used on: whatever is idle, and who is one too many.
            while let Some(oldest) = self.known.first()
                && (self.now - oldest.used >= IDLE || self.known.len() >= max)
            {
                self.known.remove(0);
            }
            let said = self.now() - i64::try_from(age).unwrap();
            let (used, checked) = (self.now, None);
            self.known.push(Known {
                pair,
                version,
                said,
                used,
                checked,
            });
        }

        fn ask(&mut self, pair: u128) -> Option<u64> {
            let mut known = self.take(pair)?;
            if self.now() - known.said >= i64::try_from(TTL).unwrap() {
                return None;
            }
            known.used = self.now;
            self.known.push(known.clone());
            Some(known.version)
        }

        fn due(&mut self, pair: u128) -> bool {
            let (now, interval) = (self.now, i64::try_from(INTERVAL).unwrap());
            let signed = self.now();
            let Some(known) = self.known.iter_mut().find(|it| it.pair == pair) else {
                return false;
            };
            let due = signed - known.said >= interval
                && known.checked.is_none_or(|at| now - at >= INTERVAL);
            if due {
                known.checked = Some(now);
            }
            due
        }
    }

    proptest! {
        #[test]
        fn it_does_what_the_story_says(max in 1_usize..5, steps in prop::collection::vec(step(), 1..200)) {
            let start = Instant::now();
            let millis = Duration::from_millis;
            let mut memory = Memory::new(max, millis(IDLE));
            let mut model = Model::default();
            for (version, step) in (1_u64..).zip(steps) {
                let now = start + millis(model.now);
                match step {
                    Step::Wait(time) => model.now += time,
                    Step::Insert(number, age) => {
                        // The slug tells answers about one pair apart.
                        let config = TenantConfig {
                            tenant_slug: version.to_string(),
                            ..TenantConfig::default()
                        };
                        memory.insert(pair(number), Fetched::new(config, millis(age), now), now);
                        model.insert(number, version, age, max);
                    }
                    Step::Ask(number) => {
                        let found = memory.fresh(&pair(number), millis(TTL), now);
                        let found = found.map(|it| it.config.tenant_slug.clone());
                        prop_assert_eq!(found, model.ask(number).map(|it| it.to_string()));
                    }
                    Step::Remove(number) => {
                        memory.remove(&pair(number));
                        model.take(number);
                    }
                    Step::Due(number) => {
                        let due = memory.is_due(&pair(number), millis(INTERVAL), now);
                        prop_assert_eq!(due, model.due(number));
                    }
                }
                let order: Vec<Pair> = memory.by_use.values().cloned().collect();
                let expected: Vec<Pair> = model.known.iter().map(|it| pair(it.pair)).collect();
                prop_assert_eq!(order, expected);
                prop_assert_eq!(memory.entries.len(), model.known.len());
                prop_assert!(memory.entries.len() <= max);
            }
        }
    }
}
