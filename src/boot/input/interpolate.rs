//! `${NAME}`, `${NAME:-default}` and their kin, as compose and dotenv loaders know them.

/// Deepest nesting of defaults in defaults.
const DEEPEST: usize = 8;
/// Longest value that comes out.
const LONGEST: usize = 64 * 1024;

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// The text, with nothing in the place of what is not set.
    pub(super) text: String,
    /// Names that nothing sets.
    pub(super) unresolved: Vec<String>,
    /// The text is one reference and nothing else, to a name that nothing sets.
    pub(super) is_reference: bool,
}

/// Fills in references; `bare` also takes `$NAME`, and `$$` as a dollar sign.
pub(super) fn fill(text: &str, bare: bool, lookup: &dyn Fn(&str) -> Option<String>) -> Filled {
    let mut filled = Filled::default();
    walk(text, bare, lookup, 0, &mut filled);
    if filled.text.len() > LONGEST {
        let mut end = LONGEST;
        while !filled.text.is_char_boundary(end) {
            end -= 1;
        }
        filled.text.truncate(end);
    }
    let whole = text.trim();
    let braces = whole.strip_prefix("${").and_then(closing);
    let one = braces.is_some_and(|end| end + 3 == whole.len())
        || bare && whole.starts_with('$') && name_length(&whole[1..]) == whole.len() - 1;
    filled.is_reference = one && !filled.unresolved.is_empty() && filled.text.is_empty();
    filled
}

fn walk(
    text: &str,
    bare: bool,
    lookup: &dyn Fn(&str) -> Option<String>,
    depth: usize,
    out: &mut Filled,
) {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.text.push_str(&rest[..at]);
        if out.text.len() > LONGEST {
            return;
        }
        rest = &rest[at + 1..];
        if let Some(inner) = rest.strip_prefix('{')
            && let Some(end) = closing(inner)
            && depth < DEEPEST
        {
            reference(&inner[..end], bare, lookup, depth, out);
            rest = &inner[end + 1..];
        } else if bare && rest.starts_with('$') {
            out.text.push('$');
            rest = &rest[1..];
        } else if bare && name_length(rest) > 0 {
            let length = name_length(rest);
            plain(&rest[..length], lookup, out);
            rest = &rest[length..];
        } else {
            out.text.push('$');
        }
    }
    out.text.push_str(rest);
}

/// Returns where the brace that was opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    if starts {
        text.bytes().take_while(|b| is_name(b)).count()
    } else {
        0
    }
}

fn plain(name: &str, lookup: &dyn Fn(&str) -> Option<String>, out: &mut Filled) {
    match lookup(name) {
        Some(value) => out.text.push_str(&value),
        None => out.unresolved.push(name.to_owned()),
    }
}

fn reference(
    inner: &str,
    bare: bool,
    lookup: &dyn Fn(&str) -> Option<String>,
    depth: usize,
    out: &mut Filled,
) {
    let length = name_length(inner);
    let (name, operator) = inner.split_at(length);
    if name.is_empty() {
        out.text.push_str("${");
        out.text.push_str(inner);
        out.text.push('}');
        return;
    }
    let (empty_is_unset, operator) = match operator.strip_prefix(':') {
        Some(operator) => (true, operator),
        None => (false, operator),
    };
    let value = lookup(name).filter(|value| !(empty_is_unset && value.is_empty()));
    match (operator.chars().next(), value) {
        (Some('+'), Some(_)) | (Some('-'), None) => {
            walk(&operator[1..], bare, lookup, depth + 1, out);
        }
        (Some('+'), None) => {}
        (_, Some(value)) => out.text.push_str(&value),
        (_, None) => out.unresolved.push(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("3002".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn references_are_filled_as_compose_does() {
        for (text, expected) in [
            (":${PORT}", ":3002"),
            ("$PORT/$$x", "3002/$x"),
            ("${NONE:-a}", "a"),
            ("${EMPTY:-a}", "a"),
            ("${EMPTY-a}", ""),
            ("${PORT:-a}", "3002"),
            ("${NONE:-${PORT:-b}}", "3002"),
            ("${NONE:-x${NONE2-}y}", "xy"),
            ("${PORT:+set}${NONE:+set}", "set"),
            ("${", "${"),
            ("${}", "${}"),
            ("a$", "a$"),
            ("ü${PORT}ü", "ü3002ü"),
        ] {
            let filled = fill(text, true, &lookup);
            assert_eq!(filled.text, expected, "{text}");
            assert_eq!(filled.unresolved, [""; 0], "{text}");
        }
        assert_eq!(fill("pa$PORT$$", false, &lookup).text, "pa$PORT$$");
    }

    #[test]
    fn what_nothing_sets_is_told() {
        let filled = fill("${NONE}", true, &lookup);
        assert!(filled.is_reference && filled.unresolved == ["NONE"]);
        assert!(fill("${NONE:?say it}", true, &lookup).is_reference);
        assert!(fill("$NONE", true, &lookup).is_reference);
        let filled = fill("http://${NONE}:1", true, &lookup);
        assert!(!filled.is_reference && filled.text == "http://:1");
        assert!(!fill("${NONE:-}", true, &lookup).is_reference);
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        let deep = format!("{}x{}", "${A:-".repeat(10_000), "}".repeat(10_000));
        assert!(fill(&deep, true, &lookup).text.len() <= LONGEST);
        let big = |_: &str| Some("x".repeat(10_000));
        assert!(fill(&"${A}".repeat(1_000), true, &big).text.len() <= LONGEST);
    }
}
