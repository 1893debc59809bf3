//! Limits and timeouts that the login roles carry, from a tenant's pool settings.
//!
//! | on the role | value |
//! | --- | --- |
//! | `CONNECTION LIMIT` | 2 pools × open connections per pool (25 unless set, at most 200) × 8 pods |
//! | `statement_timeout` | as set; the server's own when not set |
//! | `idle_in_transaction_session_timeout` | 5 minutes |
//!
//! A product opens two pools per module in each pod (primary and replica). Eight pods leave room
//! for a rolling update of four; a tenant that runs wild still cannot take every connection of a
//! large cluster. Timeouts are not guessed: migrations run with the same login and may build an
//! index for an hour. `lock_timeout` is left alone because it would also cut short the advisory
//! lock that migrations wait for.

use crate::contract::wire::ConnectionSettings;

/// Open connections per pool when nothing is set: the products' own default.
pub const DEFAULT_OPEN_CONNECTIONS: u32 = 25;
/// Most open connections per pool: the products' own cap.
pub const MAX_OPEN_CONNECTIONS: u32 = 200;
/// Pools that a product opens per module and pod: primary and replica.
pub const POOLS_PER_POD: u32 = 2;
/// Pods that a tenant's limit leaves room for.
pub const PODS: u32 = 8;
/// Longest time that a transaction may stay open without doing anything.
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "5min";

/// Returns how many sessions one login role may have.
pub fn connection_limit(settings: &ConnectionSettings) -> u32 {
    let open = match settings.max_open_conns {
        0 => DEFAULT_OPEN_CONNECTIONS,
        open => open.min(MAX_OPEN_CONNECTIONS),
    };
    POOLS_PER_POD * open * PODS
}

/// Returns a statement timeout in milliseconds, or `None` when it is not set or not usable.
///
/// Products accept `^[0-9]+\s*(us|ms|s|min|h|d)?$`, a plain number being milliseconds, and leave
/// anything else out; so do we. PostgreSQL rounds 499 µs down to 0, which would mean "no limit":
/// below a millisecond we round up.
pub fn statement_timeout_ms(text: &str) -> Option<i32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u128 = number.parse().ok()?;
    let unit = unit.trim_start_matches([' ', '\t', '\n', '\u{c}', '\r']);
    let micros = number.checked_mul(match unit {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    })?;
    i32::try_from(micros.div_ceil(1_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_follows_the_pool() {
        let with = |max_open_conns| ConnectionSettings {
            max_open_conns,
            ..ConnectionSettings::default()
        };
        assert_eq!(connection_limit(&with(0)), 400);
        assert_eq!(connection_limit(&with(10)), 160);
        assert_eq!(connection_limit(&with(9_999)), 3_200);
    }

    #[test]
    fn a_timeout_is_what_products_accept() {
        for (text, ms) in [
            ("30s", Some(30_000)),
            ("1500", Some(1_500)),
            ("2 min", Some(120_000)),
            ("1us", Some(1)),
            ("0", Some(0)),
            ("1h", Some(3_600_000)),
            ("24d", Some(2_073_600_000)),
            ("25d", None),
            ("99999999999999999999999999999999999999999999", None),
            ("", None),
            ("30", Some(30)),
            ("30S", None),
            ("30s; DROP ROLE x", None),
            ("-1", None),
            ("1.5s", None),
            (" 30s", None),
            ("30s ", None),
            ("٣s", None),
        ] {
            assert_eq!(statement_timeout_ms(text), ms, "{text}");
        }
    }
}
