//! The reference part of the README: variables and exit statuses, as Markdown.

use std::fmt::Write as _;

use crate::cli::topics;
use crate::config::variables::{self, Owner};

/// Returns the reference, between the README's markers without them.
pub fn markdown() -> String {
    let mut text = String::from("## Variables\n\n");
    text.push_str(
        "A flag wins over its variable, `LERIANCTL_*` over the products' own, and those over `--env-file` and the \
         config file. A context that is named explicitly outranks the products' variables.\n\n",
    );
    for (title, owner) in [
        ("Of lerianctl and of command-line tools", Owner::Tool),
        (
            "Of the products, read so that lerianctl works unchanged in a pod",
            Owner::Product,
        ),
    ] {
        let _ = write!(
            text,
            "{title}:\n\n| variable | default | meaning |\n| --- | --- | --- |\n"
        );
        for variable in variables::VARIABLES.iter().filter(|v| v.owner == owner) {
            row(
                &mut text,
                &[
                    &code(variable.name),
                    &variable.default().map_or_else(String::new, code),
                    variable.doc,
                ],
            );
        }
        text.push('\n');
    }
    text.push_str("Of `lerianctl server start`:\n\n| variable | meaning |\n| --- | --- |\n");
    for variable in variables::SERVER_VARIABLES {
        row(&mut text, &[&code(variable.name), variable.doc]);
    }
    text.push_str(
        "\n## Exit statuses\n\n| status | kind | when | a script should |\n| --- | --- | --- | --- |\n",
    );
    for (number, kind, when, then) in topics::EXIT_STATUSES {
        row(&mut text, &[number, kind, when, then]);
    }
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn row(text: &mut String, cells: &[&str]) {
    for cell in cells {
        // A bar would end the cell.
        let _ = write!(text, "| {} ", cell.replace('|', "\\|"));
    }
    text.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_the_cells_of_its_header() {
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let mut header = 0;
        for line in markdown().lines() {
            if line.starts_with("| variable") || line.starts_with("| status") {
                header = cells(line);
            } else if line.starts_with('|') {
                assert_eq!(cells(line), header, "{line}");
            }
        }
        assert!(header > 0);
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let mut text = String::new();
        row(&mut text, &["a|b", "c"]);
        assert_eq!(text, "| a\\|b | c |\n");
    }
}
