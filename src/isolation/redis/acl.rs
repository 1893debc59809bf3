//! Users of Redis as `ACL LIST` tells them, and what their patterns open.

/// A user, without its passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) no_password: bool,
    /// Patterns of keys that it may use, of its selectors as well.
    pub(super) keys: Vec<String>,
    /// True when no command at all is allowed.
    pub(super) no_command: bool,
}

impl User {
    /// Reads a line of `ACL LIST`; hashes of passwords are left where they stand.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next()? != "user" {
            return None;
        }
        let mut user = Self {
            name: words.next()?.to_owned(),
            no_command: true,
            ..Self::default()
        };
        for word in words {
            let word = word.trim_matches(['(', ')']);
            match word {
                "on" => user.enabled = true,
                "off" => user.enabled = false,
                "nopass" => user.no_password = true,
                "allkeys" => user.keys.push("*".into()),
                "allcommands" => user.no_command = false,
                _ => {
                    if let Some(pattern) = word.strip_prefix('~') {
                        user.keys.push(pattern.to_owned());
                    } else if let Some(rest) = word.strip_prefix('%') {
                        if let Some((_, pattern)) = rest.split_once('~') {
                            user.keys.push(pattern.to_owned());
                        }
                    } else if word.starts_with('+') {
                        user.no_command = false;
                    }
                }
            }
        }
        Some(user)
    }

    /// Returns true when every key is open to it.
    pub(super) fn has_all_keys(&self) -> bool {
        self.keys.iter().any(|pattern| pattern == "*")
    }

    /// Returns a key below `prefix` that the user's patterns open, if any can be.
    pub(super) fn key_below(&self, prefix: &str) -> Option<String> {
        let below = |pattern: &String| key_below(pattern, prefix);
        self.keys.iter().find_map(below)
    }

    /// Returns true when a pattern begins with the whole prefix, as it stands.
    pub(super) fn names(&self, prefix: &str) -> bool {
        self.keys
            .iter()
            .any(|pattern| head(pattern).0.starts_with(prefix))
    }
}

/// Splits a pattern into its literal beginning, unescaped, and the rest.
fn head(pattern: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut characters = pattern.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '*' | '?' | '[' => return (literal, &pattern[at..]),
            '\\' => literal.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => literal.push(character),
        }
    }
    (literal, "")
}

/// Returns a key that matches `pattern` and begins with `prefix`.
fn key_below(pattern: &str, prefix: &str) -> Option<String> {
    let (literal, rest) = head(pattern);
    let filled = |from: &str| -> String {
        let mut text = String::new();
        let mut rest = from;
        loop {
            let (literal, next) = head(rest);
            text.push_str(&literal);
            let Some(wild) = next.chars().next() else {
                return text;
            };
            rest = &next[wild.len_utf8()..];
            if wild == '[' {
                let set = rest.split(']').next().unwrap_or_default();
                text.extend(set.chars().find(|c| !matches!(c, '^' | '\\')));
                rest = rest.get(set.len() + 1..).unwrap_or_default();
            } else {
                text.push('x');
            }
        }
    };
    let mut candidates = vec![filled(pattern)];
    if let Some(missing) = prefix.strip_prefix(literal.as_str()) {
        // A wildcard stands where the prefix goes on: it may take any part of what is missing.
        let after = rest.trim_start_matches(['*', '?']);
        candidates.push(format!("{literal}{missing}lerianctl-probe"));
        candidates.push(format!("{literal}{missing}{}", filled(after)));
        let joined = missing.trim_end_matches(':');
        candidates.push(format!("{literal}{joined}{}", filled(after)));
    }
    candidates
        .into_iter()
        .find(|key| key.starts_with(prefix) && matches(pattern.as_bytes(), key.as_bytes()))
}

/// Redis's own comparison of a pattern with a key.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            matches(&pattern[1..], text) || (!text.is_empty() && matches(pattern, &text[1..]))
        }
        (Some(b'?'), Some(_)) => matches(&pattern[1..], &text[1..]),
        (Some(b'['), Some(byte)) => {
            let negated = pattern.get(1) == Some(&b'^');
            let mut at = if negated { 2 } else { 1 };
            let mut hit = false;
            while let Some(&one) = pattern.get(at).filter(|one| **one != b']') {
                if one == b'\\' && at + 1 < pattern.len() {
                    hit |= pattern[at + 1] == *byte;
                    at += 2;
                } else if pattern.get(at + 1) == Some(&b'-') && at + 2 < pattern.len() {
                    let (a, b) = (one.min(pattern[at + 2]), one.max(pattern[at + 2]));
                    hit |= (a..=b).contains(byte);
                    at += 3;
                } else {
                    hit |= one == *byte;
                    at += 1;
                }
            }
            let rest = pattern.get(at + 1..).unwrap_or_default();
            hit != negated && matches(rest, &text[1..])
        }
        (Some(b'\\'), Some(byte)) if pattern.len() > 1 => {
            pattern[1] == *byte && matches(&pattern[2..], &text[1..])
        }
        (Some(one), Some(byte)) => one == byte && matches(&pattern[1..], &text[1..]),
        _ => false,
    }
}

/// Returns true when `name` stands in `text` as a word of its own: `acme` in `acme_app`, not in
/// `acmeville`.
pub(crate) fn holds_word(text: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    text.match_indices(&name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_gives_the_user_and_never_a_hash() {
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let line =
            format!("user svc on #{hash} ~tenant:* resetchannels &x +@all (%R~b* -@all +get)");
        let user = User::parse(&line).unwrap();
        assert!(user.enabled && !user.no_password && !user.no_command);
        assert_eq!(user.keys, ["tenant:*", "b*"]);
        assert!(!format!("{user:?}").contains(hash));
        let open = User::parse("user default on nopass ~* &* +@all").unwrap();
        assert!(open.no_password && open.has_all_keys());
        assert!(
            User::parse("user default on nopass ~* -@all")
                .unwrap()
                .no_command
        );
        assert_eq!(User::parse("nonsense"), None);
    }

    #[test]
    fn a_key_is_found_that_a_pattern_opens() {
        let open = |pattern: &str, prefix: &str| key_below(pattern, prefix);
        for (pattern, prefix) in [
            ("*", "tenant:a:"),
            ("tenant:*", "tenant:a:"),
            ("tenant:a*", "tenant:ab:"),
            ("tenant:a:*", "tenant:a:"),
            ("tenant:?:balance:*", "tenant:a:"),
            ("*:balance:*", "tenant:a:"),
            ("tenant:[ab]:x", "tenant:a:"),
            ("tenant:a\\*", "tenant:a*"),
        ] {
            assert!(open(pattern, prefix).is_some(), "{pattern} {prefix}");
        }
        for (pattern, prefix) in [
            ("tenant:a:*", "tenant:ab:"),
            ("tenant:ab:*", "tenant:a:"),
            ("lock:*", "tenant:a:"),
            ("tenant:a", "tenant:a:"),
        ] {
            assert_eq!(open(pattern, prefix), None, "{pattern} {prefix}");
        }
    }

    #[test]
    fn a_name_counts_as_a_whole_word() {
        assert!(holds_word("acme_app", "acme") && holds_word("svc-ACME", "acme"));
        assert!(!holds_word("acmeville", "acme") && !holds_word("x", ""));
    }

    proptest! {
        #[test]
        fn what_is_returned_is_opened_and_below(pattern in "[a-c:*?]{0,8}", prefix in "[a-c]{1,3}:") {
            if let Some(key) = key_below(&pattern, &prefix) {
                prop_assert!(key.starts_with(&prefix));
                prop_assert!(matches(pattern.as_bytes(), key.as_bytes()));
            }
        }

        #[test]
        fn no_pattern_makes_it_stumble(pattern in ".{0,20}", text in ".{0,20}") {
            let _ = matches(pattern.as_bytes(), text.as_bytes());
            let _ = key_below(&pattern, &text);
            let _ = User::parse(&pattern);
        }
    }
}
