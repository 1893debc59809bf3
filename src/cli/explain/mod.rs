//! `lerianctl explain`: one page per error code, compiled in.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::complete;
use super::failure::{Failure, Kind};
use crate::output::{Report, Rows, View};

mod pages;

/// Explain an error code
///
/// Each page says what the code means, why it happens, what to do about it, and what was changed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl explain tenant.conflict\n  lerianctl explain            lists the codes\n  lerianctl explain config     lists those that begin so"
)]
pub struct ExplainArgs {
    /// Code, as printed in `error[CODE]`, or its beginning; without it, all codes are listed
    #[arg(add = ArgValueCandidates::new(complete::error_codes))]
    code: Option<String>,
}

/// Returns every code.
pub fn codes() -> impl Iterator<Item = &'static str> {
    pages::PAGES.iter().map(|(code, _)| *code)
}

/// Returns the first paragraph of a page, in one line.
fn summary(page: &str) -> String {
    let paragraph = page.split("\n\n").nth(1).unwrap_or_default();
    paragraph.replace('\n', " ")
}

/// Explains a code, or lists those with a beginning.
pub fn explain(args: &ExplainArgs) -> Result<ExplainReport, Failure> {
    let code = args.code.as_deref().unwrap_or_default();
    let code = code.trim_start_matches("error[").trim_end_matches(']');
    if let Some((code, text)) = pages::PAGES.iter().find(|(known, _)| *known == code) {
        return Ok(ExplainReport::Page { code, text });
    }
    let noun = code.trim_end_matches('.');
    let items: Vec<Explained> = pages::PAGES
        .iter()
        .filter(|(known, _)| {
            noun.is_empty()
                || known
                    .strip_prefix(noun)
                    .is_some_and(|rest| rest.starts_with('.'))
        })
        .map(|(code, page)| Explained {
            code,
            summary: summary(page),
        })
        .collect();
    if !items.is_empty() {
        return Ok(ExplainReport::Codes { items });
    }
    let near = codes()
        .max_by(|a, b| strsim::jaro(code, a).total_cmp(&strsim::jaro(code, b)))
        .unwrap_or_default();
    Err(Failure::new(
        Kind::NotFound,
        "explain.unknown",
        format!("there is no error code `{code}`"),
    )
    .hint_command(
        format!("did you mean `{near}`? list them"),
        "lerianctl explain",
    ))
}

/// A page, or the codes.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ExplainReport {
    /// The page of one code.
    Page {
        /// Code.
        code: &'static str,
        /// Markdown.
        text: &'static str,
    },
    /// Every code.
    Codes {
        /// Codes.
        items: Vec<Explained>,
    },
}

/// A code in a list.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Explained {
    /// Code.
    code: &'static str,
    /// What it means, in one sentence.
    summary: String,
}

impl Report for ExplainReport {
    const KIND: &'static str = "Explanation";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self {
            Self::Page { text, .. } => {
                out.plain(text.trim_end()).line();
            }
            Self::Codes { .. } => {
                if let Some(rows) = self.rows() {
                    out.table(&rows);
                }
            }
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let Self::Codes { items } = self else {
            return None;
        };
        Some(Rows {
            columns: vec!["code", "summary"],
            wide: Vec::new(),
            cells: items
                .iter()
                .map(|item| vec![item.code.to_owned(), item.summary.clone()])
                .collect(),
            items: super::as_items(items),
        })
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Page { code, .. } => Some((*code).to_owned()),
            Self::Codes { .. } => None,
        }
    }
}
