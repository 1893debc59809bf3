//! Lines of `NAME=value`, and the environment of a process.

use super::InputError;
use super::interpolate::fill;
use crate::boot::variables::{Oddity, Variables};

/// Oddities of lines that are told; a text that is no environment has thousands.
const TOLD: usize = 20;

/// Reads lines of `NAME=value`, as in a `.env` file or the output of `env`.
///
/// Later lines win, `${NAME}` is filled from earlier ones, quotes may span lines. A line that
/// makes no sense is told, and passed over.
pub fn dotenv(text: &str) -> Result<Variables, InputError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains('\0') {
        return Err(InputError::new(
            "holds NUL bytes, so it is not a text of variables",
        ));
    }
    let mut variables = Variables::default();
    let mut odd_lines = 0;
    let mut lines = text.lines().enumerate();
    while let Some((index, raw)) = lines.next() {
        let place = format!("line {}", index + 1);
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = match split(line) {
            Ok(pair) => pair,
            Err(rule) => {
                odd_lines += 1;
                if odd_lines <= TOLD {
                    variables.oddities.push(Oddity::Line { place, rule });
                }
                continue;
            }
        };
        let (value, literal) =
            if let Some(quote) = rest.chars().next().filter(|c| "'\"".contains(*c)) {
                let mut inner = rest[1..].to_owned();
                while end_of(&inner, quote).is_none() {
                    let Some((_, more)) = lines.next() else { break };
                    inner.push('\n');
                    inner.push_str(more);
                }
                let Some(end) = end_of(&inner, quote) else {
                    let rule = "opens a quote that is never closed";
                    variables.oddities.push(Oddity::Line { place, rule });
                    continue;
                };
                let after = inner[end + 1..].trim();
                if !after.is_empty() && !after.starts_with('#') {
                    let rule = "has text after the closing quote";
                    variables.oddities.push(Oddity::Line { place, rule });
                    continue;
                }
                let body = inner[..end].to_owned();
                if quote == '"' {
                    (unescape(&body), false)
                } else {
                    (body, true)
                }
            } else {
                let end = rest.find(" #").or_else(|| rest.find("\t#"));
                (
                    rest[..end.unwrap_or(rest.len())].trim_end().to_owned(),
                    false,
                )
            };
        let value = if literal {
            value
        } else {
            let filled = fill(&value, false, &|name| {
                variables.raw(name).map(str::to_owned)
            });
            for reference in filled.unresolved {
                let name = name.to_owned();
                variables
                    .oddities
                    .push(Oddity::Unresolved { name, reference });
            }
            filled.text.replace(ESCAPED_DOLLAR, "$")
        };
        variables.set_once(name, &value, &place);
    }
    Ok(variables)
}

/// Stands for `\$` in double quotes until references were filled.
const ESCAPED_DOLLAR: char = '\u{e000}';

fn split(line: &str) -> Result<(&str, &str), &'static str> {
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or("has no `=`")?;
    let name = name.trim_end();
    if name.is_empty() {
        return Err("has no name before `=`");
    }
    let valid = name.len() <= 256
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'%' | b'(' | b')')
        });
    if !valid {
        return Err("does not start with the name of a variable");
    }
    Ok((name, value.trim_start()))
}

fn end_of(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push(ESCAPED_DOLLAR),
            Some(c @ ('"' | '\\' | '`')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

/// Reads the environment of a process as the kernel gives it: `NAME=value`, ended by NUL.
pub fn environ(bytes: &[u8]) -> Variables {
    let mut variables = Variables::default();
    for part in bytes.split(|b| *b == 0).filter(|part| !part.is_empty()) {
        let text = String::from_utf8_lossy(part);
        if let Some((name, value)) = text.split_once('=')
            && !name.is_empty()
        {
            // The first one counts for a process, as for getenv.
            if variables.get(name).is_none() {
                variables.set(name, value, "");
            }
        }
    }
    variables
}
