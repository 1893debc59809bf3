//! Retries: one policy, for calls that may be repeated.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backon::ExponentialBuilder;

/// When and how often a call is repeated.
///
/// Only calls that change nothing or carry an idempotency key are repeated, and only when no
/// connection was made, the connection was lost, or the answer was 429, 502, 503 or 504.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Repetitions of one call; zero disables.
    pub times: usize,
    /// First wait; doubled each time, with jitter.
    pub first_wait: Duration,
    /// Longest wait, also when the server asks for more: then the call fails at once.
    pub longest_wait: Duration,
    /// Repetitions that all calls of a client may use before half of the calls succeed again:
    /// many calls at once do not multiply the load on a server that is down.
    pub budget: u32,
    /// How long a watched operation is followed without any sign of the server, and how long is
    /// tried to find out what became of a write whose answer was lost.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            times: 3,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(10),
            budget: 20,
            patience: Duration::from_mins(1),
        }
    }
}

impl RetryPolicy {
    pub(super) fn backoff(&self) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_min_delay(self.first_wait)
            .with_max_delay(self.longest_wait)
            .with_max_times(self.times)
            .with_jitter()
    }
}

/// Repetitions that are left; two successes earn one back.
#[derive(Debug)]
pub(super) struct Budget {
    halves: AtomicU32,
    full: u32,
}

impl Budget {
    pub(super) fn new(repetitions: u32) -> Self {
        let full = repetitions.saturating_mul(2);
        Self {
            halves: AtomicU32::new(full),
            full,
        }
    }

    /// Takes one repetition, when there is one.
    pub(super) fn take(&self) -> bool {
        self.halves
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(2)
            })
            .is_ok()
    }

    /// Reports a success.
    pub(super) fn earn(&self) {
        let _ = self
            .halves
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left < self.full).then_some(left + 1)
            });
    }
}

/// Reads `Retry-After`: seconds, or a date.
pub(super) fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Duration::try_from(at.duration_since(now))
        .ok()
        .or(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_budget_runs_out_and_is_earned_back() {
        let budget = Budget::new(2);
        assert!(budget.take() && budget.take() && !budget.take());
        budget.earn();
        assert!(!budget.take());
        budget.earn();
        assert!(budget.take());
        for _ in 0..100 {
            budget.earn();
        }
        assert!(budget.take() && budget.take() && !budget.take());
    }

    proptest! {
        #[test]
        fn repetitions_never_exceed_their_share(full in 0_u32..20, steps in prop::collection::vec(any::<bool>(), 0..300)) {
            let budget = Budget::new(full);
            let (mut granted, mut successes) = (0, 0);
            for is_success in steps {
                if is_success {
                    budget.earn();
                    successes += 1;
                } else {
                    granted += u32::from(budget.take());
                }
                prop_assert!(granted <= full + successes / 2);
            }
        }
    }

    #[test]
    fn the_wait_that_a_server_asks_for_is_understood() {
        let now: jiff::Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        let read = |text| retry_after(text, now);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        for text in ["", "soon", "-1", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
