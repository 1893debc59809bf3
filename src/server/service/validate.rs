//! Checks of what requests carry. Everything that is wrong is said in one answer.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::super::error::ApiError;
use crate::contract::wire::{ConnectionSettings, IsolationMode, Owner};

/// Longest display name in characters.
const NAME: usize = 256;
/// Most metadata pairs of a tenant.
const PAIRS: usize = 64;
/// Longest metadata key in characters.
const KEY: usize = 128;
/// Longest metadata value in characters.
const VALUE: usize = 2048;
/// Longest reason in characters.
const REASON: usize = 512;
/// Most connections that a pool may be given.
const CONNECTIONS: u32 = 10_000;

/// What is wrong with a request.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Adds a problem with `field`.
    pub(crate) fn add(&mut self, field: &str, problem: impl Display) {
        self.0.push(format!("{field}: {problem}"));
    }

    /// Keeps the value, or notes why there is none.
    pub(crate) fn take<T, E: Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.add(field, error)).ok()
    }

    /// Refuses when something is wrong.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(self.0.join("; ")))
        }
    }

    /// Refuses when something is wrong with a query.
    pub(crate) fn finish_query(self) -> Result<(), ApiError> {
        self.finish()
            .map_err(|refusal| ApiError::malformed(refusal.message))
    }

    /// Checks free text: not too long, no control characters.
    fn text(&mut self, field: &str, text: &str, longest: usize) {
        let length = text.chars().count();
        if length > longest {
            self.add(
                field,
                format!("has {length} characters; the most is {longest}"),
            );
        } else if let Some(found) = text.chars().find(|c| c.is_control()) {
            self.add(
                field,
                format!("holds the control character {}", found.escape_unicode()),
            );
        }
    }

    /// Checks a display name.
    pub(crate) fn name(&mut self, name: &str) {
        if name.trim().is_empty() {
            self.add("name", "is required");
        } else {
            self.text("name", name, NAME);
        }
    }

    /// Checks metadata.
    pub(crate) fn metadata(&mut self, metadata: &BTreeMap<String, String>) {
        if metadata.len() > PAIRS {
            self.add(
                "metadata",
                format!("has {} pairs; the most is {PAIRS}", metadata.len()),
            );
            return;
        }
        for (key, value) in metadata {
            if key.is_empty() {
                self.add("metadata", "has an empty key");
            } else {
                self.text("metadata key", key, KEY);
            }
            let shown: String = key.chars().take(40).collect();
            self.text(
                &format!("metadata `{}`", shown.escape_debug()),
                value,
                VALUE,
            );
        }
    }

    /// Checks an owner; the address may be left out unless `required`.
    pub(crate) fn owner(&mut self, owner: &Owner, required: bool) {
        if owner.email.is_empty() {
            if required {
                self.add("owner", "`email` is required");
            }
        } else {
            self.email(&owner.email);
        }
        if !owner.password_hash.is_empty() && !is_bcrypt(&owner.password_hash) {
            self.add(
                "owner",
                "`passwordHash` is not a bcrypt hash; a password in clear is never accepted",
            );
        }
    }

    /// Checks an e-mail address: one `@` with something on both sides, no spaces.
    pub(crate) fn email(&mut self, email: &str) {
        let shaped = email
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
        if !shaped || email.chars().any(char::is_whitespace) {
            self.add("owner", "`email` is not an e-mail address");
        } else {
            self.text("owner email", email, 254);
        }
    }

    /// Checks pool settings.
    pub(crate) fn settings(&mut self, settings: &ConnectionSettings) {
        for (field, count) in [
            ("connectionSettings.maxOpenConns", settings.max_open_conns),
            ("connectionSettings.maxIdleConns", settings.max_idle_conns),
        ] {
            if count > CONNECTIONS {
                self.add(field, format!("is {count}; the most is {CONNECTIONS}"));
            }
        }
        if settings.max_open_conns > 0 && settings.max_idle_conns > settings.max_open_conns {
            self.add(
                "connectionSettings.maxIdleConns",
                "is greater than maxOpenConns",
            );
        }
        let timeout = &settings.statement_timeout;
        if !timeout.is_empty() && !is_duration(timeout) {
            self.add(
                "connectionSettings.statementTimeout",
                "is not a PostgreSQL duration such as `30s` (a whole number with us, ms, s, min, h or d)",
            );
        }
    }

    /// Understands an isolation mode in any of the contract's words.
    pub(crate) fn mode(&mut self, field: &str, word: &str) -> Option<IsolationMode> {
        let mode = IsolationMode::parse(word);
        if mode.is_none() {
            self.add(
                field,
                "is not an isolation mode: `database` (also `isolated`, `dedicated`, `shared`) or `schema`",
            );
        }
        mode
    }

    /// Checks the reason of a change.
    pub(crate) fn reason(&mut self, reason: Option<&str>) {
        if let Some(reason) = reason {
            self.text("reason", reason, REASON);
        }
    }
}

fn is_bcrypt(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 60
        && matches!(&bytes[..4], b"$2a$" | b"$2b$" | b"$2y$")
        && bytes[4].is_ascii_digit()
        && bytes[5].is_ascii_digit()
        && bytes[6] == b'$'
        && bytes[7..]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'))
}

/// The pattern that products accept, with a number that PostgreSQL accepts.
fn is_duration(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = text[digits..].trim_start();
    text[..digits].parse::<i32>().is_ok()
        && matches!(unit, "" | "us" | "ms" | "s" | "min" | "h" | "d")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once() {
        let mut problems = Problems::default();
        problems.name(&"x".repeat(10_000));
        problems.metadata(&BTreeMap::from([("plan".to_owned(), "a\u{0}b".to_owned())]));
        problems.owner(
            &Owner {
                email: "nobody".into(),
                password_hash: "hunter2".into(),
                email_verified: false,
            },
            true,
        );
        let error = problems.finish().unwrap_err();
        for part in ["name:", "metadata `plan`", "`email`", "`passwordHash`"] {
            assert!(error.message.contains(part), "{}", error.message);
        }
        assert!(!error.message.contains("hunter2"));
    }

    #[test]
    fn names_may_hold_anything_but_control_characters() {
        for (name, good) in [
            ("Banco Aurora", true),
            ("'; DROP TABLE tenants; --", true),
            ("🦀 \"Cia\" ../..", true),
            ("line\nbreak", false),
            ("   ", false),
            ("", false),
        ] {
            let mut problems = Problems::default();
            problems.name(name);
            assert_eq!(problems.finish().is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn durations_and_hashes_are_recognised() {
        for (text, good) in [
            ("30s", true),
            ("500", true),
            ("2 min", true),
            ("-1s", false),
            ("99999999999s", false),
            ("1 fortnight", false),
            ("s", false),
        ] {
            assert_eq!(is_duration(text), good, "{text}");
        }
        let hash = format!("$2b$12${}", "a".repeat(53));
        assert!(is_bcrypt(&hash));
        assert!(!is_bcrypt("hunter2"));
        assert!(!is_bcrypt(&hash.replace('b', "é")));
    }
}
