//! Random derangements: everyone probes exactly one other, everyone is probed exactly once.
//!
//! One derangement is certain to find a breach that opens a whole row (one login opens everything)
//! or a whole column (one database is open to all); `k` of them miss a breach of a fraction `f` of
//! all pairs with probability at most `(1 − f)^(k·n)`.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Returns for each of `n` whom it probes: one random cycle through all (Sattolo's method).
pub fn derangement(n: usize, seed: u64) -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for at in (1..n).rev() {
        order.swap(at, random.random_range(0..at));
    }
    order
}

/// Returns the largest fraction of open pairs that `probes` random ones miss with more than 5 %
/// probability.
#[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
pub fn bound(probes: u64) -> f64 {
    if probes == 0 {
        1.0
    } else {
        1.0 - 0.05_f64.powf(1.0 / probes as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nobody_probes_itself_and_everybody_is_probed(n in 2_usize..300, seed in any::<u64>()) {
            let order = derangement(n, seed);
            let mut seen = vec![false; n];
            for (from, to) in order.iter().enumerate() {
                prop_assert_ne!(from, *to);
                prop_assert!(!seen[*to]);
                seen[*to] = true;
            }
            prop_assert_eq!(order, derangement(n, seed));
        }
    }

    #[test]
    fn the_bound_is_that_of_the_formula() {
        assert!((bound(3000) - 0.000_998).abs() < 0.000_01);
        assert!((bound(0) - 1.0).abs() < f64::EPSILON);
        assert_eq!(derangement(1, 7), [0]);
    }
}
