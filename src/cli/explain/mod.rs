//! `lerianctl explain`: one page per error code, compiled in.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::complete;
use super::failure::{Failure, Kind};
use crate::output::{Report, View};

mod pages;

/// Explain an error code
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl explain tenant.conflict\n  lerianctl explain            lists the codes"
)]
pub struct ExplainArgs {
    /// Code, as printed in `error[CODE]`; without it, the codes are listed
    #[arg(add = ArgValueCandidates::new(complete::error_codes))]
    code: Option<String>,
}

/// Returns every code.
pub fn codes() -> impl Iterator<Item = &'static str> {
    pages::PAGES.iter().map(|(code, _)| *code)
}

/// Explains a code.
pub fn explain(args: &ExplainArgs) -> Result<ExplainReport, Failure> {
    let Some(code) = &args.code else {
        return Ok(ExplainReport::Codes {
            items: codes().collect(),
        });
    };
    let code = code.trim_start_matches("error[").trim_end_matches(']');
    if let Some((code, text)) = pages::PAGES.iter().find(|(known, _)| *known == code) {
        return Ok(ExplainReport::Page { code, text });
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
        items: Vec<&'static str>,
    },
}

impl Report for ExplainReport {
    const KIND: &'static str = "Explanation";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self {
            Self::Page { text, .. } => {
                out.plain(text.trim_end()).line();
            }
            Self::Codes { items } => {
                for code in items {
                    out.plain(code).line();
                }
            }
        }
        Ok(())
    }
}
