//! What was typed by mistake is not repeated: tokens, keys and passwords in messages.
//!
//! A secret in the wrong place of a command line is in the shell's history; an error that quotes
//! it puts it into logs and screenshots too.

use std::borrow::Cow;

use crate::secret::REDACTED;

/// Shortest text that is taken for a random key.
const SHORTEST_KEY: usize = 20;

/// Returns `text` without tokens and without passwords in URLs.
///
/// For messages that may hold long identifiers, which stay.
pub fn tokens(text: &str) -> Cow<'_, str> {
    words(text, |word| is_token(word) || is_hash(word))
}

/// Returns `text` without anything that looks like a secret: also without random keys.
///
/// For messages that quote the command line.
pub fn secrets(text: &str) -> Cow<'_, str> {
    words(text, |word| is_token(word) || is_hash(word) || is_key(word))
}

/// Replaces the words that `is_secret` is true for. Of `NAME=SECRET` the name stays, and of a URL
/// everything but the password.
fn words(text: &str, is_secret: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let mut result = String::new();
    let mut copied = 0;
    let mut at = 0;
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | ',')) {
        let start = at;
        at += word.len()
            + text[at + word.len()..]
                .chars()
                .next()
                .map_or(0, char::len_utf8);
        let Some(secret) = part(word, &is_secret) else {
            continue;
        };
        result.push_str(&text[copied..start + secret.start]);
        result.push_str(REDACTED);
        copied = start + secret.end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    result.push_str(&text[copied..]);
    Cow::Owned(result)
}

/// Returns the part of a word that is a secret.
fn part(word: &str, is_secret: impl Fn(&str) -> bool) -> Option<std::ops::Range<usize>> {
    if let Some(password) = url_password(word) {
        return Some(password);
    }
    let mut start = 0;
    loop {
        let rest = &word[start..];
        // Punctuation of the sentence around it.
        let bare = rest.trim_end_matches(['.', ':', ';', ')', ']', '!', '?']);
        if is_secret(bare) {
            return Some(start..start + bare.len());
        }
        start += rest.find(['=', ':', '('])? + 1;
    }
}

/// Returns where the password of `scheme://user:password@host` is.
fn url_password(word: &str) -> Option<std::ops::Range<usize>> {
    let authority = word.find("://")? + 3;
    let end = word[authority..]
        .find(['/', '?', '#'])
        .map_or(word.len(), |end| authority + end);
    let colon = authority + word[authority..end].find(':')? + 1;
    // What follows the colon may be a port, which no `@` of a query makes a password.
    let is_port = end < word.len() && word[colon..end].bytes().all(|c| c.is_ascii_digit());
    if is_port {
        return None;
    }
    // Passwords are not always encoded as they should be, so the last `@` of the word counts.
    let at = word[colon..].rfind('@')?;
    (at > 0).then_some(colon..colon + at)
}

/// Returns true for a signed or encrypted token in its compact form, whole or cut off.
fn is_token(word: &str) -> bool {
    word.starts_with("eyJ") && word.len() > SHORTEST_KEY
}

/// Returns true for a bcrypt hash.
fn is_hash(word: &str) -> bool {
    // A bcrypt hash lets a password be guessed at leisure.
    word.len() == 60 && word.starts_with("$2")
}

/// Returns true for text that nobody makes up: long, without a break, of upper and lower case
/// letters and digits; or hexadecimal of 256 bits.
fn is_key(word: &str) -> bool {
    let is_random =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'+' | b'/' | b'=');
    let has = |class: fn(&u8) -> bool| word.as_bytes().iter().any(class);
    let hexadecimal = word.len() >= 64 && word.bytes().all(|c| c.is_ascii_hexdigit());
    let mixed = word.len() >= SHORTEST_KEY
        && word.bytes().all(is_random)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
        // Paths and flags.
        && !word.contains('/')
        && !word.starts_with('-');
    hexadecimal || mixed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnRJZCI6ImFjbWUifQ.c2lnbmF0dXJl";

    #[test]
    fn tokens_keys_and_passwords_are_not_repeated() {
        for (text, expected) in [
            (
                format!("invalid value '{TOKEN}' for '--lifetime'"),
                "invalid value '[redacted]' for '--lifetime'",
            ),
            (format!("claim=a={TOKEN}."), "claim=a=[redacted]."),
            (TOKEN.to_owned(), "[redacted]"),
            (
                "cannot use `postgres://ada:hun/t@er2@db:5432/x`".to_owned(),
                "cannot use `postgres://ada:[redacted]@db:5432/x`",
            ),
            ("redis://:pw@h".to_owned(), "redis://:[redacted]@h"),
            ("http://a:b@h/x?y=c@d".to_owned(), "http://a:[redacted]@d"),
            (format!("hash $2b$12${}", "a".repeat(53)), "hash [redacted]"),
        ] {
            assert_eq!(tokens(&text), expected);
            assert_eq!(secrets(&text), expected);
        }
        let key = "Xk9v2LmQ7pR4sT1wYz83-bNc_dE5fGhJ6aKuV0iOqWe";
        assert_eq!(
            secrets(&format!("unexpected argument '{key}' found")),
            "unexpected argument '[redacted]' found"
        );
    }

    #[test]
    fn what_helps_is_left_as_it_is() {
        for text in [
            "unexpected argument '--max-open-connections' found",
            "tenant `7b0e1c5a9f3d4b62a1c8e4d7f0936b21` was not found",
            "banco-aurora-2024-production-of-2025",
            "http://127.0.0.1:4003/v1/tenants?service=a@b:c",
            "https://tm.example:8443/ and ada@example.com",
            "/home/Ada/Documents/2024/keys",
            "error[tenant.not_found]: é ü 🦀",
            "",
        ] {
            assert_eq!(secrets(text), text);
        }
        let hash = crate::secret::sha256_hex(b"plan");
        assert_eq!(tokens(&hash), hash, "plan hashes are compared by people");
    }

    proptest! {
        #[test]
        fn any_text_survives_without_its_secret(before in ".{0,40}", after in ".{0,40}") {
            let secret = format!("aB3{}", Secret::generate().expose());
            let text = format!("{before} '{secret}' {after}");
            let shown = secrets(&text);
            prop_assert!(!shown.contains(&secret), "{shown}");
            let plain = format!("{before} {after}");
            // Never fails, whatever the text.
            let _ = tokens(&plain).len();
        }
    }
}
