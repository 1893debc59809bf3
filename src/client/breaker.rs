//! Circuit breaker: a server that keeps failing is left alone for a while.
//!
//! As in Lerian's client (closed, open, half-open; failures in a row; open time counted from the
//! last failure), except that half-open lets one probe pass instead of everybody.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When the breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it; zero disables it.
    pub threshold: u32,
    /// How long it stays open after the last failure.
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            threshold: 5,
            open_for: Duration::from_secs(30),
        }
    }
}

/// What a request says about the health of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is healthy.
    Success,
    /// It is not: no connection, a lost answer, 5xx.
    Failure,
    /// Nothing, such as a 401 on the connections endpoint.
    Neutral,
}

/// State of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// One probe passes.
    HalfOpen,
}

/// The breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// When it will let a probe pass, as far as is known.
    pub retry_in: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { since: Instant },
    HalfOpen { probing: bool },
}

/// The state machine; `round` tells answers of an earlier state from those that count.
#[derive(Debug)]
struct Machine {
    state: State,
    round: u64,
}

impl Machine {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.round += 1;
    }
}

/// A circuit breaker, shared by all requests to one server.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    machine: Mutex<Machine>,
}

impl Breaker {
    /// Builds a closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        let machine = Machine {
            state: State::Closed { failures: 0 },
            round: 0,
        };
        Self {
            settings,
            machine: Mutex::new(machine),
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // The state is valid after any panic: every change is a single assignment.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state as of the last request.
    pub fn state(&self) -> BreakerState {
        match self.machine().state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks whether a request may be sent at `now`.
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, Rejected> {
        let mut machine = self.machine();
        match machine.state {
            State::Closed { .. } => {}
            State::Open { since } => {
                let waited = now.saturating_duration_since(since);
                if waited < self.settings.open_for {
                    let retry_in = self.settings.open_for.saturating_sub(waited);
                    return Err(Rejected { retry_in });
                }
                machine.enter(State::HalfOpen { probing: true });
            }
            State::HalfOpen { probing: true } => {
                // The probe's own deadline decides, and nobody knows it here.
                return Err(Rejected {
                    retry_in: Duration::from_secs(1).min(self.settings.open_for),
                });
            }
            State::HalfOpen { probing: false } => machine.state = State::HalfOpen { probing: true },
        }
        Ok(Permit {
            breaker: self,
            round: machine.round,
            settled: false,
        })
    }

    fn settle(&self, round: u64, outcome: Outcome, now: Instant) {
        let mut machine = self.machine();
        if machine.round != round {
            // An answer from before the breaker last changed says nothing about today.
            return;
        }
        match (machine.state, outcome) {
            (State::Closed { .. }, Outcome::Success) => {
                machine.state = State::Closed { failures: 0 };
            }
            (State::Closed { failures }, Outcome::Failure) => {
                let failures = failures.saturating_add(1);
                if self.settings.threshold > 0 && failures >= self.settings.threshold {
                    machine.enter(State::Open { since: now });
                } else {
                    machine.state = State::Closed { failures };
                }
            }
            (State::HalfOpen { .. }, Outcome::Success) => {
                machine.enter(State::Closed { failures: 0 });
            }
            (State::HalfOpen { .. }, Outcome::Failure) => {
                machine.enter(State::Open { since: now });
            }
            (State::HalfOpen { .. }, Outcome::Neutral) => {
                machine.state = State::HalfOpen { probing: false };
            }
            (State::Closed { .. }, Outcome::Neutral) | (State::Open { .. }, _) => {}
        }
    }
}

/// Leave to send one request. Dropping it without an outcome says nothing about the server, and
/// frees the place of a probe.
#[derive(Debug)]
#[must_use]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    round: u64,
    settled: bool,
}

impl Permit<'_> {
    /// Reports what the request said about the server.
    pub fn settle(mut self, outcome: Outcome, now: Instant) {
        self.settled = true;
        self.breaker.settle(self.round, outcome, now);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker
                .settle(self.round, Outcome::Neutral, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(threshold: u32) -> BreakerSettings {
        BreakerSettings {
            threshold,
            open_for: Duration::from_secs(30),
        }
    }

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.admit(now).unwrap().settle(Outcome::Failure, now);
    }

    #[test]
    fn it_opens_at_the_threshold_and_closes_after_one_good_probe() {
        let breaker = Breaker::new(settings(5));
        let start = Instant::now();
        for _ in 0..4 {
            fail(&breaker, start);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, start);
        assert_eq!(breaker.state(), BreakerState::Open);
        let soon = start + Duration::from_millis(29_999);
        let rejected = breaker.admit(soon).unwrap_err();
        assert_eq!(rejected.retry_in, Duration::from_millis(1));
        let later = start + Duration::from_secs(30);
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err(), "one probe at a time");
        probe.settle(Outcome::Success, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_the_whole_time_again() {
        let breaker = Breaker::new(settings(1));
        let start = Instant::now();
        fail(&breaker, start);
        let later = start + Duration::from_secs(31);
        fail(&breaker, later);
        assert!(breaker.admit(later + Duration::from_secs(29)).is_err());
        assert!(breaker.admit(later + Duration::from_secs(30)).is_ok());
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_its_place_to_the_next() {
        let breaker = Breaker::new(settings(1));
        let start = Instant::now();
        fail(&breaker, start);
        let later = start + Duration::from_secs(30);
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn an_answer_from_before_it_opened_does_not_close_it() {
        let breaker = Breaker::new(settings(1));
        let start = Instant::now();
        let slow = breaker.admit(start).unwrap();
        fail(&breaker, start);
        slow.settle(Outcome::Success, start);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn zero_disables_it() {
        let breaker = Breaker::new(settings(0));
        let start = Instant::now();
        for _ in 0..1000 {
            fail(&breaker, start);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Begin,
        End(usize, Outcome),
        Abandon(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let outcome = prop_oneof![
            3 => Just(Outcome::Failure),
            1 => Just(Outcome::Success),
            1 => Just(Outcome::Neutral),
        ];
        prop_oneof![
            1 => (0_u64..20_000).prop_map(Step::Wait),
            4 => Just(Step::Begin),
            4 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
            1 => any::<usize>().prop_map(Step::Abandon),
        ]
    }

    /// The breaker told as a story: written without the code above in mind.
    #[derive(Debug, Default)]
    struct Model {
        now: u64,
        in_a_row: u32,
        open_since: Option<u64>,
        probe: Option<u64>,
        probing_allowed: bool,
        epoch: u32,
        next: u64,
    }

    impl Model {
        fn begin(&mut self) -> Option<(u64, u32)> {
            if let Some(since) = self.open_since {
                if !self.probing_allowed && self.now - since < 30_000 {
                    return None;
                }
                if self.probe.is_some() {
                    return None;
                }
                if !self.probing_allowed {
                    self.probing_allowed = true;
                    self.epoch += 1;
                }
                self.probe = Some(self.next);
            }
            self.next += 1;
            Some((self.next - 1, self.epoch))
        }

        fn end(&mut self, (id, epoch): (u64, u32), outcome: Outcome, threshold: u32) {
            if epoch != self.epoch {
                return;
            }
            if self.open_since.is_some() {
                assert_eq!(self.probe, Some(id));
                self.probe = None;
                match outcome {
                    Outcome::Success => {
                        self.open_since = None;
                        self.in_a_row = 0;
                    }
                    Outcome::Failure => self.open_since = Some(self.now),
                    Outcome::Neutral => return,
                }
                self.probing_allowed = false;
                self.epoch += 1;
                return;
            }
            match outcome {
                Outcome::Success => self.in_a_row = 0,
                Outcome::Failure => self.in_a_row += 1,
                Outcome::Neutral => {}
            }
            if threshold > 0 && self.in_a_row >= threshold {
                self.open_since = Some(self.now);
                self.epoch += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn it_does_what_the_story_says(threshold in 0_u32..4, steps in prop::collection::vec(step(), 1..200)) {
            let breaker = Breaker::new(settings(threshold));
            let start = Instant::now();
            let mut model = Model::default();
            let mut under_way = Vec::new();
            for step in steps {
                let now = start + Duration::from_millis(model.now);
                match step {
                    Step::Wait(millis) => model.now += millis,
                    Step::Begin => {
                        let expected = model.begin();
                        let permit = breaker.admit(now);
                        prop_assert_eq!(permit.is_ok(), expected.is_some());
                        if let (Ok(permit), Some(id)) = (permit, expected) {
                            under_way.push((permit, id));
                        }
                    }
                    Step::End(which, outcome) if !under_way.is_empty() => {
                        let (permit, id) = under_way.swap_remove(which % under_way.len());
                        permit.settle(outcome, now);
                        model.end(id, outcome, threshold);
                    }
                    Step::Abandon(which) if !under_way.is_empty() => {
                        let (permit, id) = under_way.swap_remove(which % under_way.len());
                        drop(permit);
                        model.end(id, Outcome::Neutral, threshold);
                    }
                    Step::End(..) | Step::Abandon(_) => {}
                }
                let expected = match (model.open_since, model.probing_allowed) {
                    (None, _) => BreakerState::Closed,
                    (Some(_), true) => BreakerState::HalfOpen,
                    (Some(_), false) => BreakerState::Open,
                };
                prop_assert_eq!(breaker.state(), expected);
            }
        }
    }
}
