//! `lerianctl env …`: the products' environments, before and after they start.

pub mod check;
pub mod explain;
pub mod render;
mod source;
mod view;

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap_complete::engine::CompletionCandidate;

use super::invocation::Invocation;
use crate::boot::Product;

/// Environments of Lerian's products: what each would do at boot
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// Say what products would do at boot with an environment, and what is wrong with it
    Check(check::CheckArgs),
    /// Write a block of variables with which a product starts multi-tenant
    Render(render::RenderArgs),
    /// Explain a rule, a variable or a product
    Explain(explain::ExplainArgs),
}

impl EnvCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Check(args) => run.emit(check::check(run, args)),
            Self::Render(args) => run.emit(render::render(run, args)),
            Self::Explain(args) => run.emit(explain::explain(args)),
        }
    }
}

/// Reads the name of a product.
fn product(text: &str) -> Result<Product, String> {
    Product::named(text).ok_or_else(|| {
        let names = Product::ALL.map(Product::as_str);
        format!("the products are {}", names.join(", "))
    })
}

/// Candidates for a product.
fn products() -> Vec<CompletionCandidate> {
    Product::ALL
        .iter()
        .map(|product| {
            CompletionCandidate::new(product.as_str()).help(Some(product.version().into()))
        })
        .collect()
}

/// Returns a parser that takes the words of `all`.
fn words<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    word: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(
        all.iter()
            .map(move |value| PossibleValue::new(word(*value))),
    )
    .map(move |text| {
        let found = all.iter().find(|value| word(**value) == text);
        *found.expect("the parser lets only these words through")
    })
}
