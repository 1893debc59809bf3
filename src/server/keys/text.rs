//! The text of a key: `lrk_<id>_<secret><checksum>`.
//!
//! The prefix makes it recognisable wherever it leaks to, and the checksum lets a scanner tell a
//! key from something that only looks like one, without asking anybody. The id is public: it is
//! in logs, lists and records. The secret has 256 bits.

use crate::secret::{Secret, random_bytes, sha256_hex};

/// What every key begins with.
pub(crate) const PREFIX: &str = "lrk_";
/// Length of an id.
const ID: usize = 12;
/// Characters that hold 256 bits, at 62 characters each.
const SECRET: usize = 43;
/// Characters of the checksum.
const CHECKSUM: usize = 6;

const DIGITS: &[u8] = b"0123456789";
const LOWER: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ALL: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns `count` characters of an alphabet, each as likely as the others.
fn draw(alphabet: &[u8], count: usize) -> String {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let bytes = random_bytes::<64>();
        let fitting = bytes.iter().map(|b| usize::from(*b)).filter(|b| *b < fair);
        for byte in fitting.take(count - text.len()) {
            text.push(char::from(alphabet[byte % alphabet.len()]));
        }
    }
    text
}

fn checksum(body: &str) -> String {
    let hex = sha256_hex(body.as_bytes());
    let mut number = u64::from_str_radix(&hex[..15], 16).unwrap_or_default();
    let base = ALL.len() as u64;
    (0..CHECKSUM)
        .map(|_| {
            let digit = usize::try_from(number % base).unwrap_or_default();
            number /= base;
            char::from(ALL[digit])
        })
        .collect()
}

/// Returns the public id and the text of a new key. Ids begin with a digit, names of keys with a
/// letter, so that one is never taken for the other.
pub(super) fn generate() -> (String, Secret) {
    let id = draw(DIGITS, 1) + &draw(LOWER, ID - 1);
    let body = format!("{PREFIX}{id}_{}", draw(ALL, SECRET));
    let sum = checksum(&body);
    (id, Secret::new(body + &sum))
}

/// Returns the id in the text of a key, if it is one.
pub(super) fn id(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let shaped = id.len() == ID
        && id.bytes().all(|b| LOWER.contains(&b))
        && secret.len() == SECRET + CHECKSUM
        && secret.bytes().all(|b| b.is_ascii_alphanumeric());
    shaped.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_recognised_with_its_checksum() {
        let (found, text) = generate();
        let text = text.expose();
        assert_eq!(id(text), Some(found.as_str()));
        assert!(found.starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(text.len(), 4 + ID + 1 + SECRET + CHECKSUM);
        let (body, sum) = text.split_at(text.len() - CHECKSUM);
        assert_eq!(checksum(body), sum);
        assert_ne!(checksum(&body[1..]), sum);
        assert_ne!(generate().1.expose(), text);
        for other in ["", "lrk_", "lrk_1_x", &text[1..], &text[..text.len() - 1]] {
            assert_eq!(id(other), None, "{other}");
        }
    }

    #[test]
    fn every_character_is_drawn() {
        let text = draw(ALL, 20_000);
        for character in ALL {
            let count = text.bytes().filter(|b| b == character).count();
            assert!((200..=460).contains(&count), "{character}: {count}");
        }
    }
}
