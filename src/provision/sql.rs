//! SQL text: the one place that quotes identifiers and literals.
//!
//! Object names cannot be bound as parameters, so statements that make objects are text. A NUL
//! character, which no quoting can carry, is refused by the driver before anything is sent.

use postgres_protocol::escape::{escape_identifier, escape_literal};

/// Returns `name` as a quoted identifier.
pub fn ident(name: &str) -> String {
    escape_identifier(name)
}

/// Returns `text` as a literal, whatever the server's `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    // A text with a backslash comes back as ` E'…'`.
    escape_literal(text).trim_start().to_owned()
}

/// Returns `names` as quoted identifiers with commas between them.
pub fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    join(names.into_iter().map(ident))
}

/// Returns `texts` as literals with commas between them.
pub fn literals<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    join(texts.into_iter().map(literal))
}

/// Returns statements as one text; sent as one message, they are one transaction.
pub fn script(statements: &[String]) -> String {
    statements.join(";\n")
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(ident(r#"a"; DROP"#), r#""a""; DROP""#);
        assert_eq!(literal("a'; DROP"), "'a''; DROP'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(idents(["a", "b"]), r#""a", "b""#);
        assert_eq!(literals(["a", "b"]), "'a', 'b'");
    }

    proptest! {
        #[test]
        fn nothing_ends_an_identifier_early(name in any::<String>()) {
            let quoted = ident(&name);
            let inner = &quoted[1..quoted.len() - 1];
            prop_assert_eq!(inner.replace("\"\"", "").matches('"').count(), 0);
            prop_assert_eq!(inner.replace("\"\"", "\""), name);
        }

        #[test]
        fn nothing_ends_a_literal_early(text in any::<String>()) {
            let quoted = literal(&text);
            let escaped = quoted.starts_with('E');
            prop_assert_eq!(escaped, text.contains('\\'));
            let inner = &quoted[if escaped { 2 } else { 1 }..quoted.len() - 1];
            let mut plain = inner.replace("''", "'");
            if escaped {
                plain = plain.replace(r"\\", r"\");
            }
            prop_assert_eq!(plain, text);
        }
    }
}
