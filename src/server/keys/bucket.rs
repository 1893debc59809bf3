//! A token bucket in one word of memory (the generic cell rate algorithm, as ATM networks use it):
//! all that is kept is when the bucket will be full again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// Tokens that come back at a steady rate, up to those of one second.
#[derive(Debug)]
pub(super) struct Bucket {
    /// When the bucket is full again, in nanoseconds since some beginning.
    full_at: AtomicU64,
    /// Nanoseconds in which one token comes back; 0 for no limit.
    cost: u64,
}

impl Bucket {
    /// Builds a full bucket of `per_second` tokens; 0 means no limit.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            full_at: AtomicU64::new(0),
            cost: SECOND.checked_div(u64::from(per_second)).unwrap_or(0),
        }
    }

    /// Takes a token at `now`, or says how long to wait for one.
    pub(super) fn take(&self, now: u64) -> Result<(), Duration> {
        if self.cost == 0 {
            return Ok(());
        }
        let mut seen = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = seen.max(now) + self.cost;
            let over = next.saturating_sub(now + SECOND);
            if over > 0 {
                return Err(Duration::from_nanos(over));
            }
            let swap = self.full_at.compare_exchange_weak(
                seen,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swap {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_of_tokens_at_once_and_then_one_at_a_time() {
        let bucket = Bucket::new(4);
        for _ in 0..4 {
            bucket.take(10).unwrap();
        }
        assert_eq!(bucket.take(10), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(10 + SECOND / 4), Ok(()));
        assert!(bucket.take(10 + SECOND / 4).is_err());
        assert!((0..1000).all(|_| Bucket::new(0).take(0).is_ok()));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_burst(
            rate in 1_u32..2000,
            gaps in proptest::collection::vec(0_u64..5_000_000, 1..400),
        ) {
            let bucket = Bucket::new(rate);
            let (mut now, mut taken) = (0, 0_u64);
            for gap in gaps {
                now += gap;
                taken += u64::from(bucket.take(now).is_ok());
                // One more than exact, for the rounding of the cost.
                let most = u64::from(rate) + now * u64::from(rate) / SECOND + 1;
                prop_assert!(taken <= most + most / 1000, "{taken} of {most}");
            }
        }
    }
}
