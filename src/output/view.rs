//! Text for a person: safe for a terminal, coloured only where wanted.

use std::fmt;

/// What a piece of text means; colour only repeats what the words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A heading or a name.
    Strong,
    /// Less important.
    Dim,
    /// Well.
    Good,
    /// Needs a look.
    Warn,
    /// Failed or refused.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31;1",
        }
    }

    /// Returns `text` without control characters, in this tone when `color` is on.
    pub fn paint(self, text: &str, color: bool) -> String {
        let text = clean(text);
        if color && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", self.code())
        } else {
            text
        }
    }
}

/// Where a report writes its view for a person. What is written with `write!` loses its control
/// characters, since server text is hostile; line feeds stay.
#[derive(Debug, Default)]
pub struct View {
    text: String,
    /// Width to lay out for; `None` is unlimited.
    pub width: Option<u16>,
    /// Whether colours are wanted.
    pub color: bool,
}

impl View {
    /// Returns an empty view.
    pub fn new(width: Option<u16>, color: bool) -> Self {
        Self {
            text: String::new(),
            width,
            color,
        }
    }

    /// Appends `text` in `tone`.
    pub fn paint(&mut self, tone: Tone, text: impl AsRef<str>) -> &mut Self {
        let painted = tone.paint(text.as_ref(), self.color);
        self.text.push_str(&painted);
        self
    }

    /// Appends `text` as it is, without its control characters.
    pub fn plain(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.text.push_str(&clean(text.as_ref()));
        self
    }

    /// Appends prose and a line feed; on a terminal it is broken at its edge, and goes on below with
    /// `indent`. Longer words, which may have to be copied, stay whole.
    pub fn prose(&mut self, tone: Option<Tone>, indent: usize, text: impl AsRef<str>) -> &mut Self {
        let line = self.text.rsplit('\n').next().unwrap_or_default();
        let mut column = console::measure_text_width(line);
        let width = self
            .width
            .map_or(usize::MAX, |width| usize::from(width).max(40));
        let mut lines = vec![String::new()];
        for word in text.as_ref().split(' ') {
            let long = console::measure_text_width(word);
            let first = lines.len() == 1;
            let current = lines.last_mut().expect("there is a first line");
            if current.is_empty() && first && column + long <= width {
                current.push_str(word);
                column += long;
            } else if column + 1 + long <= width {
                current.push(' ');
                current.push_str(word);
                column += 1 + long;
            } else {
                lines.push(word.to_owned());
                column = indent + long;
            }
        }
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                self.line().plain(" ".repeat(indent));
            }
            match tone {
                Some(tone) => self.paint(tone, line),
                None => self.plain(line),
            };
        }
        self.line()
    }

    /// Appends a line feed.
    pub fn line(&mut self) -> &mut Self {
        self.text.push('\n');
        self
    }

    /// Appends `label: value` lines with the values in one column; empty values are left out.
    pub fn fields(&mut self, fields: &[(&str, String)]) -> &mut Self {
        let width = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, _)| console::measure_text_width(label))
            .max()
            .unwrap_or(0);
        for (label, value) in fields {
            if !value.is_empty() {
                let pad = width - console::measure_text_width(label);
                self.paint(Tone::Dim, format!("{label}:"))
                    .plain(" ".repeat(pad + 1))
                    .plain(value.trim_end())
                    .line();
            }
        }
        self
    }

    /// Appends a table of `rows`.
    pub fn table(&mut self, rows: &super::Rows) -> &mut Self {
        let text = super::table::render(rows, &[], true, self.width, self.color);
        self.text.push_str(&text);
        self
    }

    /// Returns the text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl fmt::Write for View {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.text.push_str(&clean(s));
        Ok(())
    }
}

/// Returns `text` without control characters other than line feed and tab, and without the
/// characters that reorder text on a terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| {
            let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            matches!(c, '\n' | '\t') || !(c.is_control() || reorders)
        })
        .collect()
}

/// Returns `text` in one line: line feeds and tabs become spaces.
pub fn one_line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_broken_on_a_terminal_and_whole_elsewhere() {
        let text = "one two three four five six seven eight nine ten https://tm.example/long/enough/to/stay/whole end";
        let shown = |width| {
            let mut view = View::new(width, false);
            view.plain("  high[x]: ").prose(None, 4, text);
            view.into_text()
        };
        assert_eq!(shown(None), format!("  high[x]: {text}\n"));
        assert_eq!(
            shown(Some(40)),
            "  high[x]: one two three four five six\n    seven eight nine ten\n    \
             https://tm.example/long/enough/to/stay/whole\n    end\n"
        );
    }
    use std::fmt::Write as _;

    #[test]
    fn server_text_cannot_drive_the_terminal() {
        let mut view = View::new(None, true);
        write!(view, "a\x1b[31mb\u{202e}c\rd\x07").unwrap();
        assert_eq!(view.into_text(), "a[31mbcd");
        assert_eq!(Tone::Good.paint("x\x1b[0m", false), "x[0m");
        assert_eq!(Tone::Good.paint("x", true), "\x1b[32mx\x1b[0m");
    }
}
