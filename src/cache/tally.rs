//! What was found, deleted and kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::CacheError;
use super::classes::{KeyClass, Verdict};
use super::keyspace::{Classified, KeyTenant, Refusal};

/// Keys by tenant and class id.
pub type Counts = BTreeMap<(KeyTenant, &'static str), u64>;

/// Names of keys that are shown at most, so that a strange keyspace cannot fill the memory.
pub(super) const SAMPLES: usize = 20;
/// Characters of a key's name that are shown at most.
const SHOWN: usize = 200;

/// Why a key of the scope stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kept {
    /// Its class is not a cache.
    Verdict(Verdict),
    /// Its class is a cache, and it is refused all the same.
    Refused(Refusal),
    /// Its name is that of a cache and its type is not: something else wrote it.
    Type(String),
}

impl Kept {
    pub(super) fn of(key: &Classified<'_>) -> Self {
        match key.refusal {
            Some(refusal) => Self::Refused(refusal),
            None => Self::Verdict(key.class.verdict),
        }
    }

    /// Returns the reason in words, after the class's own.
    pub fn describe(&self, class: &KeyClass) -> String {
        match self {
            Self::Verdict(_) => class.reason.to_owned(),
            Self::Refused(Refusal::NoTenant) => {
                "it names no tenant, and only a tenant's caches are deleted".to_owned()
            }
            Self::Refused(Refusal::Denied(text)) => {
                format!("its name holds `{text}`, which stands for what must not be deleted")
            }
            Self::Type(found) => format!("its type is {found}, and such a cache is a string"),
        }
    }
}

/// Counts of a walk over one server's keys.
#[derive(Debug, Default)]
pub struct Tally {
    /// Caches of the scope.
    pub found: Counts,
    /// Of these, how many are gone now.
    pub deleted: Counts,
    /// Keys of the scope that stay, by class id.
    pub kept: BTreeMap<(&'static str, Kept), u64>,
    /// Names of some keys that are unclassified or of the wrong type, safe to print.
    pub samples: Vec<String>,
}

impl Tally {
    pub(super) fn keep(&mut self, class: &'static KeyClass, why: Kept, key: &[u8]) {
        let strange = matches!(why, Kept::Verdict(Verdict::Unclassified) | Kept::Type(_));
        if strange && self.samples.len() < SAMPLES {
            self.samples.push(printable(key));
        }
        *self.kept.entry((class.id, why)).or_default() += 1;
    }

    pub(super) fn absorb(&mut self, other: Self) {
        for (mine, theirs) in [
            (&mut self.found, other.found),
            (&mut self.deleted, other.deleted),
        ] {
            for (key, count) in theirs {
                *mine.entry(key).or_default() += count;
            }
        }
        for (key, count) in other.kept {
            *self.kept.entry(key).or_default() += count;
        }
        let room = SAMPLES - self.samples.len().min(SAMPLES);
        self.samples.extend(other.samples.into_iter().take(room));
    }
}

/// The counts of one server, and what stopped the walk over it.
#[derive(Debug)]
pub struct NodeTally {
    /// `host:port` as announced.
    pub name: String,
    /// Keys that it holds, of any kind.
    pub keys: u64,
    /// Counts up to the end or the error.
    pub tally: Tally,
    /// Why the walk ended early.
    pub error: Option<CacheError>,
}

/// Returns a key's name in one bounded line: bytes that are not text, and control characters,
/// are escaped.
pub fn printable(key: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in key.utf8_chunks() {
        shown.extend(chunk.valid().chars().flat_map(|c| {
            // Quotes and backslashes stay as they are; what could steer a terminal does not.
            let escape = c.is_control() || is_invisible(c);
            let plain = (!escape).then_some(c);
            plain
                .into_iter()
                .chain(escape.then(|| c.escape_unicode()).into_iter().flatten())
        }));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
        if shown.len() > SHOWN * 4 {
            break;
        }
    }
    if shown.chars().count() > SHOWN {
        shown = shown.chars().take(SHOWN).chain(['…']).collect();
    }
    shown
}

/// Marks that change the direction of text or cannot be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_key_cannot_steer_a_terminal_and_is_bounded() {
        assert_eq!(
            printable(b"tenant:a:x\xff\x1b[31m"),
            "tenant:a:x\\xff\\u{1b}[31m"
        );
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert!(printable(&vec![b'k'; 1 << 20]).chars().count() <= SHOWN + 1);
        assert!(printable(&vec![0xff; 1 << 20]).chars().count() <= SHOWN + 1);
    }
}
