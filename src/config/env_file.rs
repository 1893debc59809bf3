//! Files of variables, as given with `--env-file`.
//!
//! The form is the one that container tools read: `NAME=value` lines, `#` comments, an optional
//! `export`, single or double quotes. Nothing is substituted: a `$` in a password is a `$`, and the
//! process's own variables stay out of it (which is why this is not left to a crate).

use std::path::{Path, PathBuf};

use super::problem::Problem;

/// A file of variables, in the order of its lines.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// The file.
    pub path: PathBuf,
    /// Line from 1, name, value.
    pub(super) lines: Vec<(usize, String, String)>,
}

impl std::fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.lines.iter().map(|line| &line.1).collect();
        f.debug_struct("EnvFile")
            .field("path", &self.path)
            .field("names", &names)
            .finish()
    }
}

impl EnvFile {
    /// Reads the text of a file; a line that makes no sense is a problem, never skipped.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let mut lines = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let number = index + 1;
            let line = raw.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = assignment(line).map_err(|rule| {
                Problem::new(
                    "config.env_file",
                    format!("{} line {number} {rule}", path.display()),
                )
                .hint("a line is NAME=value, NAME='value', NAME=\"value\" or a # comment")
            })?;
            lines.push((number, name, value));
        }
        Ok(Self {
            path: path.to_owned(),
            lines,
        })
    }

    /// Returns line and name of every variable.
    pub(super) fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().map(|line| (line.0, line.1.as_str()))
    }

    /// Returns line and value of a variable; its last line counts.
    pub(super) fn get(&self, name: &str) -> Option<(usize, &str)> {
        self.lines
            .iter()
            .rev()
            .find(|line| line.1 == name)
            .map(|line| (line.0, line.2.as_str()))
    }
}

fn assignment(line: &str) -> Result<(String, String), &'static str> {
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or("has no `=`")?;
    let name = name.trim_end();
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !valid {
        return Err("does not start with the name of a variable");
    }
    Ok((name.to_owned(), unquote(value.trim())?))
}

fn unquote(value: &str) -> Result<String, &'static str> {
    let rest = if let Some(rest) = value.strip_prefix('\'') {
        let (inner, rest) = rest.split_once('\'').ok_or("has no closing quote")?;
        return after_quote(rest).map(|()| inner.to_owned());
    } else if let Some(rest) = value.strip_prefix('"') {
        rest
    } else {
        // Only a `#` that stands apart begins a comment: URLs and passwords may hold one.
        let end = value.find(" #").or_else(|| value.find("\t#"));
        return Ok(value[..end.unwrap_or(value.len())].trim_end().to_owned());
    };
    let mut out = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return after_quote(chars.as_str()).map(|()| out),
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('"' | '\\' | '$' | '`')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("has no closing quote")
}

fn after_quote(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(())
    } else {
        Err("has text after the closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EnvFile, Problem> {
        EnvFile::parse(Path::new("pod.env"), text)
    }

    #[test]
    fn values_are_taken_literally() {
        let file = parse(concat!(
            "# a comment\n\n",
            "A=plain # comment\n",
            "export B = 'single # $HOME'\n",
            "C=\"double \\\"quoted\\\" \\$x\" # comment\n",
            "D=pa$$word#1\n",
            "E=\n",
            "A=later\r\n",
        ))
        .unwrap();
        assert_eq!(file.get("A"), Some((8, "later")));
        assert_eq!(file.get("B"), Some((4, "single # $HOME")));
        assert_eq!(file.get("C"), Some((5, "double \"quoted\" $x")));
        assert_eq!(file.get("D"), Some((6, "pa$$word#1")));
        assert_eq!(file.get("E"), Some((7, "")));
        assert_eq!(file.get("F"), None);
    }

    #[test]
    fn nonsense_names_its_line_and_not_its_value() {
        for text in [
            "\nhunter2",
            "\n=hunter2",
            "\nA='hunter2",
            "\nA=\"hunter2\" hunter2",
            "\n1A=hunter2",
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.message.contains("pod.env line 2"), "{problem}");
            assert!(!problem.message.contains("hunter2"), "{problem}");
        }
    }
}
