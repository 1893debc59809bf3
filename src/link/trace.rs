//! Trace context of the W3C: what a call belongs to, from caller to callee.

use std::fmt;

/// Longest `tracestate` that is passed on.
const LONGEST_STATE: usize = 512;
/// Most members of a `tracestate`.
const MOST_MEMBERS: usize = 32;

/// A span: its trace, its own id, and what tracing systems passed along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
    state: Option<String>,
}

impl TraceContext {
    /// Begins a trace.
    pub fn root() -> Self {
        Self {
            // An id of zeros is none.
            trace: rand::random_range(1..=u128::MAX),
            span: rand::random_range(1..=u64::MAX),
            sampled: false,
            state: None,
        }
    }

    /// Understands a `traceparent` header; nothing for one that is not valid, which begins anew.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        // version "-" trace "-" span "-" flags
        if bytes.len() < 55 || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
            return None;
        }
        let version = hex(&bytes[..2])?;
        // Later versions may add to the end, after another dash.
        let whole = bytes.len() == 55 || (version > 0 && bytes[55] == b'-');
        if version == 0xff || !whole {
            return None;
        }
        let trace = hex(&bytes[3..35])?;
        let span = u64::try_from(hex(&bytes[36..52])?).ok()?;
        let flags = hex(&bytes[53..55])?;
        (trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
            state: None,
        })
    }

    /// Adds a `tracestate` header; one that is not valid is dropped and harms nothing else.
    #[must_use]
    pub fn with_state(self, tracestate: &str) -> Self {
        let members: Vec<&str> = tracestate
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
            .collect();
        let valid = tracestate.len() <= LONGEST_STATE
            && members.len() <= MOST_MEMBERS
            && members.iter().all(|member| is_member(member));
        Self {
            state: (valid && !members.is_empty()).then(|| members.join(",")),
            ..self
        }
    }

    /// Returns a new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span: rand::random_range(1..=u64::MAX),
            ..self.clone()
        }
    }

    /// Returns the id of the trace.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Returns the id of the span.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// Returns the `tracestate` to pass on.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// As in a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

/// Reads lower-case hexadecimal digits, as the standard wants them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let key_is_good = (1..=256).contains(&key.len())
        && key.bytes().all(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
        })
        && key
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let value_is_good = (1..=256).contains(&value.len())
        && value
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=')
        && !value.ends_with(' ');
    key_is_good && value_is_good
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_comes_back_as_it_was() {
        let context = TraceContext::parse(GOOD).expect("valid");
        assert_eq!(context.to_string(), GOOD);
        let child = context.child();
        assert_eq!(child.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(child.span_id(), context.span_id());
        let root = TraceContext::root();
        assert_eq!(TraceContext::parse(&root.to_string()), Some(root));
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = GOOD.replacen("00", "01", 1);
        assert!(TraceContext::parse(&later).is_some());
        assert!(TraceContext::parse(&format!("{later}-more")).is_some());
        assert!(TraceContext::parse(&format!("{later}more")).is_none());
    }

    #[test]
    fn anything_else_is_not_valid() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-é4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_tracing_systems_say_is_passed_on_when_it_is_valid() {
        let with = |text: &str| {
            let context = TraceContext::parse(GOOD).expect("valid").with_state(text);
            context.state().map(str::to_owned)
        };
        assert_eq!(
            with("rojo=00f067, congo=t61"),
            Some("rojo=00f067,congo=t61".into())
        );
        assert_eq!(with(""), None);
        assert_eq!(with("nothing"), None);
        assert_eq!(with("Upper=1"), None);
        assert_eq!(with("a=b=c"), None);
        assert_eq!(with("a=\u{7}"), None);
        assert_eq!(with(&"a=b,".repeat(33)), None);
        assert_eq!(with(&format!("a={}", "b".repeat(600))), None);
    }
}
