//! Tables without borders, cut to the terminal's width, and CSV.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

use super::view::one_line;
use super::{Rows, console};

/// Columns that are never cut: they are copied into other commands.
const WHOLE: [&str; 5] = ["id", "slug", "operation", "name", "key"];

/// Chooses columns by name; with no choice, the report's own.
fn chosen(rows: &Rows, columns: &[String], all: bool) -> Vec<usize> {
    let names: Vec<&str> = rows.columns.iter().chain(&rows.wide).copied().collect();
    if columns.is_empty() {
        let count = if all { names.len() } else { rows.columns.len() };
        return (0..count).collect();
    }
    columns
        .iter()
        .filter_map(|column| names.iter().position(|name| name == column))
        .collect()
}

/// Returns the column of `wanted` that `rows` does not have, if any.
pub fn unknown_column<'a>(rows: &Rows, wanted: &'a [String]) -> Option<&'a str> {
    wanted
        .iter()
        .map(String::as_str)
        .find(|column| !rows.columns.contains(column) && !rows.wide.contains(column))
}

/// Renders `rows` for a person.
pub fn render(
    rows: &Rows,
    columns: &[String],
    headers: bool,
    width: Option<u16>,
    color: bool,
) -> String {
    let picked = chosen(rows, columns, false);
    let names: Vec<&str> = rows.columns.iter().chain(&rows.wide).copied().collect();
    let cells: Vec<Vec<String>> = rows
        .cells
        .iter()
        .map(|row| {
            picked
                .iter()
                .map(|&i| one_line(row.get(i).map_or("", String::as_str)))
                .collect()
        })
        .collect();
    let mut widths: Vec<usize> = picked
        .iter()
        .enumerate()
        .map(|(at, &i)| {
            cells
                .iter()
                .map(|row| console::width_of(&row[at]))
                .chain([if headers { names[i].len() } else { 0 }])
                .max()
                .unwrap_or(0)
        })
        .collect();
    if let Some(width) = width {
        shrink(&mut widths, &picked, &names, usize::from(width));
    }
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if headers {
        table.set_header(picked.iter().enumerate().map(|(at, &i)| {
            Cell::new(cut(&names[i].to_uppercase(), widths[at])).add_attribute(Attribute::Dim)
        }));
    }
    for row in &cells {
        table.add_row(
            row.iter()
                .enumerate()
                .map(|(at, text)| toned(&cut(text, widths[at]))),
        );
    }
    let last = picked.len().saturating_sub(1);
    for at in 0..picked.len() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, if at == last { 0 } else { 2 }));
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Colours the state words that operators scan for.
fn toned(text: &str) -> Cell {
    let cell = Cell::new(text);
    match text {
        "active" | "succeeded" | "yes" | "ok" | "running" | "holds" => cell.fg(Color::Green),
        "suspended" | "provisioning" | "pending" => cell.fg(Color::Yellow),
        "purged" | "failed" | "no" | "refuted" => cell.fg(Color::Red),
        _ => cell,
    }
}

/// Takes width from the widest columns that may be cut until the row fits.
fn shrink(widths: &mut [usize], picked: &[usize], names: &[&str], limit: usize) {
    const LEAST: usize = 8;
    let gaps = widths.len().saturating_sub(1) * 2;
    while widths.iter().sum::<usize>() + gaps > limit {
        let widest = (0..widths.len())
            .filter(|&at| at > 0 && !WHOLE.contains(&names[picked[at]]) && widths[at] > LEAST)
            .max_by_key(|&at| widths[at]);
        match widest {
            Some(at) => widths[at] -= 1,
            None => return,
        }
    }
}

/// Returns `text` in at most `width` columns, ending in `…` when it was cut.
pub fn cut(text: &str, width: usize) -> String {
    ::console::truncate_str(text, width, "…").into_owned()
}

/// Renders `rows` as CSV.
pub fn csv(rows: &Rows, columns: &[String], headers: bool) -> Vec<u8> {
    let picked = chosen(rows, columns, true);
    let names: Vec<&str> = rows.columns.iter().chain(&rows.wide).copied().collect();
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    if headers {
        let _ = writer.write_record(picked.iter().map(|&i| names[i]));
    }
    for row in &rows.cells {
        let _ = writer.write_record(
            picked
                .iter()
                .map(|&i| row.get(i).map_or("", String::as_str)),
        );
    }
    writer.into_inner().unwrap_or_default()
}

/// Renders a document that has no rows as CSV of one row: its plain values by key.
///
/// Every command has a csv, so that a change is never made and then refused to be printed.
pub fn csv_of_one(document: &serde_json::Value, headers: bool) -> Vec<u8> {
    let plain: Vec<(&String, String)> = document
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match value {
            serde_json::Value::String(text) => Some((key, text.clone())),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
                Some((key, value.to_string()))
            }
            _ => None,
        })
        .collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    if headers {
        let _ = writer.write_record(plain.iter().map(|(key, _)| key.as_str()));
    }
    let _ = writer.write_record(plain.iter().map(|(_, value)| value.as_str()));
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Rows {
        Rows {
            columns: vec!["slug", "title"],
            wide: vec!["note"],
            cells: vec![
                vec!["aurora".into(), "a".repeat(50), "n1".into()],
                vec!["sol".into(), "line\nfeed \x1b[31m".into(), "n,2".into()],
            ],
            items: Vec::new(),
        }
    }

    #[test]
    fn long_cells_are_cut_to_the_terminal_and_names_are_not() {
        let text = render(&sample(), &[], true, Some(30), false);
        assert!(
            text.lines().all(|line| console::width_of(line) <= 30),
            "{text}"
        );
        assert!(text.contains("aurora") && text.contains('…'));
        assert!(!text.contains('\x1b') && text.contains("line feed [31m"));
        let whole = render(&sample(), &[], true, None, false);
        assert!(whole.contains(&"a".repeat(50)));
    }

    #[test]
    fn csv_quotes_and_knows_every_column() {
        let text = String::from_utf8(csv(&sample(), &[], true)).unwrap();
        assert!(text.starts_with("slug,title,note\n"));
        assert!(text.contains("\"n,2\""));
        let some = String::from_utf8(csv(&sample(), &["note".into()], false)).unwrap();
        assert!(some.starts_with("n1\n"));
        assert_eq!(unknown_column(&sample(), &["nope".into()]), Some("nope"));
        let one = serde_json::json!({"kind": "Change", "changed": true, "plan": {}});
        let text = String::from_utf8(csv_of_one(&one, true)).unwrap();
        assert_eq!(text, "changed,kind\ntrue,Change\n");
    }
}
