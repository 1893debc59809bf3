//! `lerianctl env explain`.

use std::fmt;

use clap::Args;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use crate::boot::Product;
use crate::boot::catalogue::{Need, Variable, catalogue};
use crate::boot::rules::{Rule, rule, rules};
use crate::cli::failure::{Failure, Kind};
use crate::output::{Report, Rows, Tone, View};

/// Explain a rule, a variable or a product
///
/// A rule: what the product does at boot, why it matters, what to do. A variable: what each
/// product does with it, in its code and in its chart. A product: what it reads. Where public
/// documentation says something else, the page says so.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl env explain auth-address-empty\n  lerianctl env explain MULTI_TENANT_CACHE_TTL_SEC\n  lerianctl env explain ledger\n  lerianctl env explain            lists the rules"
)]
pub struct ExplainArgs {
    /// Id of a rule, name of a variable or of a product; without it, the rules are listed
    #[arg(add = ArgValueCandidates::new(candidates))]
    name: Option<String>,
}

fn candidates() -> Vec<CompletionCandidate> {
    let rules = rules()
        .iter()
        .map(|rule| CompletionCandidate::new(&rule.id).help(Some(rule.title.clone().into())));
    let variables = catalogue().variables.iter().map(|variable| {
        CompletionCandidate::new(&variable.name).help(Some(variable.doc.clone().into()))
    });
    rules.chain(variables).chain(super::products()).collect()
}

/// Explains something.
pub fn explain(args: &ExplainArgs) -> Result<EnvExplainReport, Failure> {
    let Some(name) = &args.name else {
        return Ok(EnvExplainReport::Rules {
            items: rules().to_vec(),
        });
    };
    // As printed: `high[auth-address-empty]:`.
    let name = name
        .split_once('[')
        .map_or(name.as_str(), |(_, rest)| rest.trim_end_matches([']', ':']));
    if let Some(rule) = rule(name) {
        return Ok(EnvExplainReport::Rule { rule: rule.clone() });
    }
    if let Some(variable) = catalogue().find(&name.to_ascii_uppercase()) {
        return Ok(EnvExplainReport::of_variable(variable));
    }
    if let Some(product) = Product::named(name) {
        return Ok(EnvExplainReport::of_product(product));
    }
    let known = rules()
        .iter()
        .map(|rule| rule.id.as_str())
        .chain(
            catalogue()
                .variables
                .iter()
                .map(|variable| variable.name.as_str()),
        )
        .chain(Product::ALL.map(Product::as_str));
    let near = known
        .max_by(|a, b| strsim::jaro(name, a).total_cmp(&strsim::jaro(name, b)))
        .unwrap_or_default();
    Err(Failure::new(
        Kind::NotFound,
        "env.unknown",
        format!("there is no rule, variable or product `{name}`"),
    )
    .hint_command(
        format!("did you mean `{near}`? list the rules"),
        "lerianctl env explain",
    ))
}

/// A page, or the rules.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum EnvExplainReport {
    /// One rule.
    Rule {
        /// The rule.
        rule: Rule,
    },
    /// One variable.
    Variable {
        /// Its name.
        variable: String,
        /// What it is for.
        description: String,
        /// What public documentation says, where the code does something else.
        #[serde(skip_serializing_if = "Option::is_none")]
        documented: Option<String>,
        /// What each product does with it.
        products: Vec<Reading>,
    },
    /// One product.
    Product {
        /// The product.
        product: Product,
        /// Version whose rules are known.
        version: String,
        /// Variables that matter.
        variables: Vec<Reading>,
    },
    /// Every rule.
    Rules {
        /// The rules.
        items: Vec<Rule>,
    },
}

/// What a product does with a variable.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Reading {
    /// The product, or the variable when the page is that of a product.
    name: String,
    /// `required`, `optional` or `unread`.
    need: &'static str,
    /// What an unset value becomes.
    unset: String,
    /// What 0 means.
    zero: String,
    /// What the chart writes by itself; absent when it does not write the variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    chart: Option<String>,
    /// What else there is to say.
    note: String,
}

impl EnvExplainReport {
    fn of_variable(variable: &Variable) -> Self {
        let products = Product::ALL.into_iter();
        Self::Variable {
            variable: variable.name.clone(),
            description: variable.doc.clone(),
            documented: variable.documented.clone(),
            products: products
                .filter_map(|product| reading(product.as_str(), variable, product))
                .collect(),
        }
    }

    fn of_product(product: Product) -> Self {
        Self::Product {
            product,
            version: product.version().to_owned(),
            variables: catalogue()
                .variables
                .iter()
                .filter_map(|variable| reading(&variable.name, variable, product))
                .collect(),
        }
    }
}

fn reading(name: &str, variable: &Variable, product: Product) -> Option<Reading> {
    let cell = variable.cell(product)?;
    Some(Reading {
        name: name.to_owned(),
        need: match cell.need {
            Need::Required => "required",
            Need::Optional => "optional",
            Need::Unread => "unread",
        },
        unset: cell.code.clone(),
        zero: cell.zero.clone(),
        chart: cell.chart.clone(),
        note: cell.note.clone(),
    })
}

impl Report for EnvExplainReport {
    const KIND: &'static str = "EnvExplanation";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self {
            Self::Rule { rule } => {
                out.paint(Tone::Strong, &rule.id)
                    .plain(": ")
                    .prose(None, 2, &rule.title)
                    .line();
                for (label, text) in [
                    ("Severity", rule.severity.as_str()),
                    ("At boot", &rule.boot),
                    ("Why", &rule.why),
                    (
                        "Public documentation",
                        rule.documented.as_deref().unwrap_or_default(),
                    ),
                    ("Remedy", &rule.remedy),
                ] {
                    if !text.is_empty() {
                        out.paint(Tone::Dim, label).line();
                        out.plain("  ").prose(None, 2, text);
                    }
                }
            }
            Self::Variable {
                variable,
                description,
                documented,
                ..
            } => {
                out.paint(Tone::Strong, variable)
                    .plain(": ")
                    .prose(None, 2, description);
                if let Some(documented) = documented {
                    out.plain("Public documentation: ")
                        .prose(None, 2, documented);
                }
            }
            Self::Product {
                product, version, ..
            } => {
                out.paint(Tone::Strong, product.as_str())
                    .plain(format!(" {version}"))
                    .line();
            }
            Self::Rules { .. } => {}
        }
        if let Some(rows) = self.rows() {
            out.table(&rows);
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let readings = |first: &'static str, readings: &[Reading]| Rows {
            columns: vec![first, "need", "unset", "zero", "chart"],
            wide: vec!["note"],
            cells: readings
                .iter()
                .map(|reading| {
                    vec![
                        reading.name.clone(),
                        reading.need.to_owned(),
                        reading.unset.clone(),
                        reading.zero.clone(),
                        match reading.chart.as_deref() {
                            None => "not written".to_owned(),
                            Some("") => "(empty)".to_owned(),
                            Some(text) => text.to_owned(),
                        },
                        reading.note.clone(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(readings),
        };
        match self {
            Self::Rule { .. } => None,
            Self::Variable { products, .. } => Some(readings("product", products)),
            Self::Product { variables, .. } => Some(readings("variable", variables)),
            Self::Rules { items } => Some(Rows {
                columns: vec!["rule", "severity", "title"],
                wide: vec!["remedy"],
                cells: items
                    .iter()
                    .map(|rule| {
                        vec![
                            rule.id.clone(),
                            rule.severity.as_str().to_owned(),
                            rule.title.clone(),
                            rule.remedy.clone(),
                        ]
                    })
                    .collect(),
                items: crate::cli::as_items(items),
            }),
        }
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Rule { rule } => Some(rule.id.clone()),
            _ => None,
        }
    }
}
