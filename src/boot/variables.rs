//! The variables of one process, and how products read them.

use std::collections::BTreeMap;
use std::fmt;

use crate::secret::Secret;

/// What is known of a variable's value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// The text. Any of them may be a secret, so none is ever in a `Debug`.
    Known(Secret),
    /// It is set, in a place that was not given: a Secret, the shell that starts compose.
    Elsewhere(String),
}

/// A variable's value and where it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is known of the value.
    pub value: Value,
    /// Where it was written, such as `line 12`; empty when there is nothing to say.
    pub place: String,
}

/// Something odd in the text of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// A name was given more than once; the last counts.
    Repeated {
        /// The name.
        name: String,
        /// Where the value that counts is.
        place: String,
    },
    /// A line is no assignment, and is passed over.
    Line {
        /// Where.
        place: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// A chart does not write this key, so the product never sees it.
    NotWritten {
        /// The name.
        name: String,
        /// Where it was given.
        place: String,
    },
    /// Something that the environment is made of is not in the input.
    Absent {
        /// What, such as `ConfigMap ledger`.
        what: String,
    },
    /// A value refers to a variable that nothing sets.
    Unresolved {
        /// The variable whose value is affected.
        name: String,
        /// The variable that is not set.
        reference: String,
    },
}

/// The variables of one process.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    entries: BTreeMap<String, Entry>,
    /// What was odd in the text that they come from.
    pub oddities: Vec<Oddity>,
    /// True when they come from a chart's values: defaults of the chart are included.
    pub from_chart: bool,
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Variables {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let mut variables = Self::default();
        for (name, value) in pairs {
            variables.set(name, value, "");
        }
        variables
    }
}

impl Variables {
    /// Returns no variables yet, of a chart.
    pub fn of_chart() -> Self {
        Self {
            from_chart: true,
            ..Self::default()
        }
    }

    /// Sets a variable; the last one counts.
    pub fn set(&mut self, name: &str, value: &str, place: &str) {
        let entry = Entry {
            value: Value::Known(Secret::new(value)),
            place: place.to_owned(),
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// Sets a variable whose value is in a place that was not given.
    pub fn set_elsewhere(&mut self, name: &str, source: &str, place: &str) {
        let entry = Entry {
            value: Value::Elsewhere(source.to_owned()),
            place: place.to_owned(),
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// Sets a variable and notes when it was set before.
    pub fn set_once(&mut self, name: &str, value: &str, place: &str) {
        if self.entries.contains_key(name) {
            self.oddities.push(Oddity::Repeated {
                name: name.to_owned(),
                place: place.to_owned(),
            });
        }
        self.set(name, value, place);
    }

    /// Removes a variable.
    pub fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// Takes the variables of `other`, which win.
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.oddities.extend(other.oddities);
        self.from_chart |= other.from_chart;
    }

    /// Returns what is known of a variable.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Returns every variable by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// Returns how many variables there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true when there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the text of a variable, when it is known; it may be empty.
    pub fn raw(&self, name: &str) -> Option<&str> {
        match &self.entries.get(name)?.value {
            Value::Known(text) => Some(text.expose()),
            Value::Elsewhere(_) => None,
        }
    }

    /// Returns the text without blanks around it, when there is any.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.raw(name)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    /// Returns true when the variable has a value that is not blank, known or not.
    pub fn given(&self, name: &str) -> bool {
        match self.entries.get(name).map(|entry| &entry.value) {
            Some(Value::Known(text)) => !text.expose().trim().is_empty(),
            Some(Value::Elsewhere(_)) => true,
            None => false,
        }
    }

    /// Returns a boolean as products read it; `unset` when it is not set or cannot be read.
    pub fn flag(&self, name: &str, unset: bool) -> bool {
        self.raw(name).and_then(parse_bool).unwrap_or(unset)
    }

    /// Returns a boolean as the security switches of lib-commons are read.
    pub fn truthy(&self, name: &str) -> bool {
        self.text(name).is_some_and(is_truthy)
    }

    /// Returns a number as products read it: nothing and nonsense are 0.
    pub fn number(&self, name: &str) -> i64 {
        self.raw(name).and_then(parse_number).unwrap_or(0)
    }

    /// Returns the environment that names the channel of events.
    pub fn channel_environment(&self) -> Option<String> {
        ["ENVIRONMENT_NAME", "ENV_NAME"]
            .into_iter()
            .find_map(|name| self.raw(name).filter(|text| !text.is_empty()))
            .map(|text| text.trim().to_lowercase())
            .filter(|text| !text.is_empty())
    }
}

/// Reads a boolean with the words of Go's `ParseBool`, which does not trim.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Returns true for the words that lib-commons takes as yes in its security switches.
pub fn is_truthy(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "true" | "1" | "yes" | "on"
    )
}

/// Reads a whole number as Go's `ParseInt` with base 10 does.
pub fn parse_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Returns a value that is safe to show: no control characters, at most 60 of the others.
pub fn shown(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    if out.chars().count() < text.chars().count() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("true", Some(true)),
            ("T", Some(true)),
            ("0", Some(false)),
            ("yes", None),
            ("on", None),
            (" true", None),
            ("", None),
        ] {
            assert_eq!(parse_bool(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("30", Some(30)),
            ("+5", Some(5)),
            ("-1", Some(-1)),
            ("30s", None),
            ("1_000", None),
            ("0x10", None),
            (" 5", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_number(text), expected, "{text:?}");
        }
        assert!(is_truthy(" Yes ") && !is_truthy("t") && !is_truthy("true because"));
    }

    #[test]
    fn the_channel_is_that_of_environment_name_first() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .copied()
                .collect::<Variables>()
                .channel_environment()
        };
        assert_eq!(
            of(&[("ENV_NAME", " Production ")]).as_deref(),
            Some("production")
        );
        assert_eq!(
            of(&[("ENV_NAME", "production"), ("ENVIRONMENT_NAME", "staging")]).as_deref(),
            Some("staging")
        );
        assert_eq!(
            of(&[("ENV_NAME", "production"), ("ENVIRONMENT_NAME", "")]).as_deref(),
            Some("production")
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn no_value_is_in_a_debug() {
        let variables: Variables = [("A", "hunter2")].into_iter().collect();
        assert_eq!(format!("{variables:?}"), "{\"A\"}");
    }
}
