//! What is said of a command line that cannot be understood: names, never values.
//!
//! A short secret has no shape to be known by, so no value is repeated, wherever it stands. What
//! comes close to something known is a misspelling of it, and is.

use std::error::Error as _;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::redact;
use crate::secret::REDACTED;

/// Shortest value that is looked for outside of quotes; shorter ones are parts of sentences.
const WORD: usize = 3;

/// A message without the values that were typed.
pub(super) struct Misuse {
    /// For a document, and a terminal without colours.
    pub(super) plain: String,
    /// With colours, unless something had to be taken out of it afterwards.
    pub(super) styled: Option<StyledStr>,
}

/// Returns what to say.
pub(super) fn say(mut error: clap::Error) -> Misuse {
    let values = hide(&mut error);
    let styled = error.render();
    let whole = styled.to_string();
    let mut text = whole.clone();
    // The reasons are those of our own parsers, which quote what they were given.
    if let Some(source) = error.source().map(ToString::to_string) {
        for value in values {
            text = text.replacen(&source, &without(&source, &value), 1);
        }
    }
    let plain = redact::secrets(text.trim_end()).into_owned();
    Misuse {
        styled: (plain == whole.trim_end()).then_some(styled),
        plain,
    }
}

/// Takes values out of what clap knows of an error; returns those that were taken out.
fn hide(error: &mut clap::Error) -> Vec<String> {
    let is_flag = |text: &str| {
        text.strip_prefix('-').is_some_and(|name| {
            let name = name.strip_prefix('-').unwrap_or(name);
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
    };
    let kinds = [
        (ContextKind::InvalidValue, ContextKind::SuggestedValue),
        (
            ContextKind::InvalidSubcommand,
            ContextKind::SuggestedSubcommand,
        ),
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
    ];
    let mut hidden = Vec::new();
    for (kind, suggestion) in kinds {
        // Of most errors these are what is known: the argument, or the subcommand before.
        let typed = match kind {
            ContextKind::InvalidArg => error.kind() == ErrorKind::UnknownArgument,
            ContextKind::InvalidSubcommand => error.kind() == ErrorKind::InvalidSubcommand,
            _ => true,
        };
        let Some(ContextValue::String(text)) = error.get(kind).filter(|_| typed) else {
            continue;
        };
        let known = match error.get(suggestion) {
            Some(ContextValue::Strings(names)) => !names.is_empty(),
            other => other.is_some(),
        };
        if known || text.is_empty() || (kind == ContextKind::InvalidArg && is_flag(text)) {
            continue;
        }
        hidden.push(text.clone());
        error.insert(kind, ContextValue::String(REDACTED.into()));
    }
    if !hidden.is_empty() {
        // How to pass it as a value.
        error.remove(ContextKind::Suggested);
    }
    hidden
}

/// Returns `text` without `value`, where it is quoted or a word of its own.
fn without(text: &str, value: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let (left, right) = (before.chars().next_back(), after.chars().next());
        let quoted = left == right && matches!(left, Some('`' | '\'' | '"'));
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let word = value.len() >= WORD || value.bytes().all(|b| b.is_ascii_digit());
        result.push_str(before);
        if quoted || (word && !inside(left) && !inside(right)) {
            result.push_str(REDACTED);
        } else {
            result.push_str(value);
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that no parser of ours takes, or all do; none is part of a sentence.
    const TYPED: [&str; 5] = ["Hunter2", "73915", "q7 z=k", "-Zq7x", "zq://7:k"];

    fn said(command: &clap::Command, arguments: &[&str]) -> Option<String> {
        let command = command.clone().no_binary_name(true);
        let error = command.try_get_matches_from(arguments).err()?;
        Some(say(error).plain)
    }

    fn each(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        for sub in command.get_subcommands() {
            each(sub, look);
        }
    }

    #[test]
    fn no_value_is_repeated_wherever_it_was_typed() {
        let mut tried = 0;
        each(&super::super::command(), &mut |command| {
            for value in TYPED {
                let mut lines = vec![vec![value], vec![value; 9], vec!["--", value, value]];
                let flags: Vec<String> = command
                    .get_arguments()
                    .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
                    .collect();
                let joined: Vec<String> =
                    flags.iter().map(|flag| format!("{flag}={value}")).collect();
                lines.extend(flags.iter().map(|flag| vec![flag.as_str(), value]));
                lines.extend(joined.iter().map(|flag| vec![flag.as_str()]));
                for line in lines {
                    let Some(said) = said(command, &line) else {
                        continue;
                    };
                    assert!(
                        !said.contains(value),
                        "{} {line:?}: {said}",
                        command.get_name()
                    );
                    tried += 1;
                }
            }
        });
        assert!(tried > 3000, "{tried}");
    }

    #[test]
    fn what_helps_is_still_said() {
        let command = super::super::command();
        for (line, parts) in [
            (
                &["tenant", "list", "--statsu", "active"][..],
                &["'--statsu'", "'--status'"][..],
            ),
            (&["tenant", "lists"], &["'lists'", "'list'"]),
            (
                &["tenant", "list", "-o", "jsn"],
                &["'jsn'", "--output", "possible values", "'json'"],
            ),
            (
                &["tenant", "list", "-o", "Hunter2"],
                &["'[redacted]'", "--output", "possible values", "json"],
            ),
            (
                &["tenant", "list", "--timeout", "Hunter2"],
                &["--timeout", "is not a duration such as `90s`"],
            ),
            (
                &["tenant", "list", "--limit", "0"],
                &["--limit", "is not in 1"],
            ),
            (&["tenant", "Hunter2"], &["unrecognized subcommand"]),
            (&["tenant", "show"], &["<TENANT>"]),
        ] {
            let said = said(&command, line).expect("it is refused");
            for part in parts {
                assert!(said.contains(part), "{line:?}, {part}: {said}");
            }
        }
    }

    #[test]
    fn only_the_value_is_taken_out_of_a_reason() {
        for (text, value, expected) in [
            ("`a` is a word", "a", "`[redacted]` is a word"),
            ("15 is not in 1..=9", "15", "[redacted] is not in 1..=9"),
            ("no abcd in xabcdx", "abcd", "no [redacted] in xabcdx"),
            ("nothing", "x", "nothing"),
            ("`é`é", "é", "`[redacted]`é"),
        ] {
            assert_eq!(without(text, value), expected);
        }
    }
}
