//! When a token is valid, as times and in words.

use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Unit};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::parse::Members;

/// How a token stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValidityState {
    /// Begun and not over.
    Valid,
    /// Begun, without an end.
    NeverExpires,
    /// Over.
    Expired,
    /// Not begun.
    NotYetValid,
    /// `exp` or `nbf` is not a time.
    Unreadable,
}

/// When a token is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validity {
    /// How the token stands at the moment it was looked at.
    pub state: ValidityState,
    /// The same in words, for example `valid, expires in 12 minutes`.
    pub words: String,
    /// Claim `iat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub issued_at: Option<Timestamp>,
    /// Claim `nbf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub not_before: Option<Timestamp>,
    /// Claim `exp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
}

/// What a claim that should be a time holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Absent,
    At(Timestamp),
    /// A number of seconds that no calendar has.
    BeyondCalendar {
        past: bool,
    },
    Unreadable,
}

impl Time {
    pub(super) fn of(claims: &Members, name: &str) -> Self {
        if claims.out_of_range().iter().any(|known| known == name) {
            return Self::Unreadable;
        }
        match claims.get(name) {
            None => Self::Absent,
            Some(Value::Number(number)) => {
                let seconds = number.as_f64().unwrap_or(f64::NAN);
                number
                    .as_i64()
                    .map(SignedDuration::from_secs)
                    .or_else(|| SignedDuration::try_from_secs_f64(seconds).ok())
                    .and_then(|since| Timestamp::from_duration(since).ok())
                    .map_or(
                        Self::BeyondCalendar {
                            past: seconds < 0.0,
                        },
                        Self::At,
                    )
            }
            Some(_) => Self::Unreadable,
        }
    }

    pub(super) fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            _ => None,
        }
    }
}

impl Validity {
    pub(super) fn of(claims: &Members, now: Timestamp) -> Self {
        let [expires, begins, issued] = ["exp", "nbf", "iat"].map(|name| Time::of(claims, name));
        let (state, words) = judge(expires, begins, now);
        Self {
            state,
            words,
            issued_at: issued.at(),
            not_before: begins.at(),
            expires_at: expires.at(),
        }
    }

    /// Returns true while the token may be used, as far as time goes.
    pub fn holds(&self) -> bool {
        matches!(
            self.state,
            ValidityState::Valid | ValidityState::NeverExpires
        )
    }
}

fn judge(expires: Time, begins: Time, now: Timestamp) -> (ValidityState, String) {
    for (name, time) in [("exp", expires), ("nbf", begins)] {
        if time == Time::Unreadable {
            return (
                ValidityState::Unreadable,
                format!("not usable: the claim `{name}` is not a time"),
            );
        }
    }
    match expires {
        Time::At(end) if end <= now => {
            let words = if end == now {
                "expired just now".to_owned()
            } else {
                format!("expired {} ago", distance(end, now))
            };
            return (ValidityState::Expired, words);
        }
        Time::BeyondCalendar { past: true } => {
            return (
                ValidityState::Expired,
                "expired before the calendar begins".to_owned(),
            );
        }
        _ => {}
    }
    match begins {
        Time::At(begin) if begin > now => {
            return (
                ValidityState::NotYetValid,
                format!(
                    "not valid before {} (in {})",
                    begin.strftime("%Y-%m-%d %H:%M:%S UTC"),
                    distance(now, begin)
                ),
            );
        }
        Time::BeyondCalendar { past: false } => {
            return (
                ValidityState::NotYetValid,
                "not valid before the calendar ends".to_owned(),
            );
        }
        _ => {}
    }
    match expires {
        Time::At(end) => (
            ValidityState::Valid,
            format!("valid, expires in {}", distance(now, end)),
        ),
        Time::BeyondCalendar { .. } => (
            ValidityState::Valid,
            "valid, expires after the calendar ends".to_owned(),
        ),
        Time::Absent | Time::Unreadable => (
            ValidityState::NeverExpires,
            "valid, never expires".to_owned(),
        ),
    }
}

/// Puts a count into its unit of a span.
type SetUnit = fn(Span, i64) -> Span;

/// Returns the time between two instants in words: its largest unit, and the next one after a 1.
pub(super) fn distance(from: Timestamp, to: Timestamp) -> String {
    let utc = |time: Timestamp| TimeZone::UTC.to_datetime(time);
    let Ok(span) = utc(from).until((Unit::Year, utc(to))) else {
        return format!("{} seconds", to.duration_since(from).as_secs());
    };
    let units: [(i64, SetUnit); 6] = [
        (span.get_years().into(), |span, n| span.years(n)),
        (span.get_months().into(), |span, n| span.months(n)),
        (span.get_days().into(), |span, n| span.days(n)),
        (span.get_hours().into(), |span, n| span.hours(n)),
        (span.get_minutes(), |span, n| span.minutes(n)),
        (span.get_seconds(), |span, n| span.seconds(n)),
    ];
    let Some(first) = units.iter().position(|&(count, _)| count != 0) else {
        return "less than a second".to_owned();
    };
    let kept = if units[first].0 == 1 { 2 } else { 1 };
    let span = units
        .iter()
        .skip(first)
        .take(kept)
        .fold(Span::new(), |span, &(count, set)| set(span, count));
    SpanPrinter::new()
        .designator(Designator::Verbose)
        .spacing(Spacing::BetweenUnitsAndDesignators)
        .span_to_string(&span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> Members {
        use base64::Engine as _;
        let token = format!(
            "e30.{}.",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
        );
        super::super::parse::Parsed::read(&token).unwrap().claims
    }

    #[test]
    fn validity_is_said_in_words() {
        let now: Timestamp = "2026-03-02T12:00:00Z".parse().unwrap();
        let at = now.as_second();
        for (claims, state, words) in [
            (
                format!(r#"{{"exp":{}}}"#, at + 720),
                ValidityState::Valid,
                "valid, expires in 12 minutes",
            ),
            (
                format!(r#"{{"exp":{}.5}}"#, at + 59),
                ValidityState::Valid,
                "valid, expires in 59 seconds",
            ),
            (
                format!(r#"{{"exp":{}}}"#, at + 7140),
                ValidityState::Valid,
                "valid, expires in 1 hour 59 minutes",
            ),
            (
                format!(r#"{{"exp":{}}}"#, at + 3600),
                ValidityState::Valid,
                "valid, expires in 1 hour",
            ),
            (
                format!(r#"{{"exp":{}}}"#, at + 10 * 365 * 86400),
                ValidityState::Valid,
                "valid, expires in 9 years",
            ),
            (
                format!(r#"{{"exp":{}}}"#, at - 3 * 86400 - 5),
                ValidityState::Expired,
                "expired 3 days ago",
            ),
            (
                format!(r#"{{"exp":{at}}}"#),
                ValidityState::Expired,
                "expired just now",
            ),
            (
                format!(r#"{{"exp":{at},"nbf":{}}}"#, at + 9),
                ValidityState::Expired,
                "expired just now",
            ),
            (
                format!(r#"{{"exp":{},"nbf":{}}}"#, at + 99, at + 9),
                ValidityState::NotYetValid,
                "not valid before 2026-03-02 12:00:09 UTC (in 9 seconds)",
            ),
            (
                "{}".to_owned(),
                ValidityState::NeverExpires,
                "valid, never expires",
            ),
            (
                r#"{"exp":-9e99}"#.to_owned(),
                ValidityState::Expired,
                "expired before the calendar begins",
            ),
            (
                r#"{"exp":9e99}"#.to_owned(),
                ValidityState::Valid,
                "valid, expires after the calendar ends",
            ),
            (
                r#"{"exp":18446744073709551615}"#.to_owned(),
                ValidityState::Valid,
                "valid, expires after the calendar ends",
            ),
            (
                r#"{"exp":1e400}"#.to_owned(),
                ValidityState::Unreadable,
                "not usable: the claim `exp` is not a time",
            ),
            (
                r#"{"exp":"1772452800"}"#.to_owned(),
                ValidityState::Unreadable,
                "not usable: the claim `exp` is not a time",
            ),
            (
                r#"{"exp":null}"#.to_owned(),
                ValidityState::Unreadable,
                "not usable: the claim `exp` is not a time",
            ),
            (
                r#"{"nbf":[]}"#.to_owned(),
                ValidityState::Unreadable,
                "not usable: the claim `nbf` is not a time",
            ),
        ] {
            let validity = Validity::of(&members(&claims), now);
            assert_eq!(
                (validity.state, validity.words.as_str()),
                (state, words),
                "{claims}"
            );
        }
    }

    #[test]
    fn no_two_instants_are_too_far_apart() {
        for (from, to) in [
            (Timestamp::MIN, Timestamp::MAX),
            (Timestamp::MAX, Timestamp::MIN),
        ] {
            assert!(!distance(from, to).is_empty());
        }
    }
}
