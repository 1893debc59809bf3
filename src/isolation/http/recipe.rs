//! Recipes: how a product's resources are listed, made and removed. Version 1.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the format; raised when a key changes its meaning.
pub const VERSION: u32 = 1;

/// The recipes that are built in, by name.
const BUILT_IN: [(&str, &str); 5] = [
    ("crm", include_str!("recipes/crm.toml")),
    ("ledger", include_str!("recipes/ledger.toml")),
    ("reporter", include_str!("recipes/reporter.toml")),
    ("sample", include_str!("recipes/sample.toml")),
    ("tracer", include_str!("recipes/tracer.toml")),
];

/// How a product is probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Version of this format: 1.
    pub version: u32,
    /// Name of the product, for the report.
    pub product: String,
    /// Service as the Tenant Manager knows it.
    pub service: String,
    /// Base URL, where nothing else is said.
    pub base: String,
    /// Headers of every request; `{name}` is a variable of the tenant that asks.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Header with an idempotency key; without it there is none to be tried.
    #[serde(default)]
    pub idempotency_header: Option<String>,
    /// Address of the key set that tokens are signed with, when it is published.
    #[serde(default)]
    pub jwks: Option<String>,
    /// Address of the key set of another environment, such as staging.
    #[serde(default)]
    pub other_environment_jwks: Option<String>,
    /// Path whose answer says whether the tenant's audit chain is whole.
    #[serde(default)]
    pub audit_verify: Option<String>,
    /// Key of that answer with the number of records it went through.
    #[serde(default = "checked")]
    pub audit_count: String,
    /// Path that lists the records of the chain, newest first, where `audit_verify` holds `{id}`: up to
    /// which record it goes.
    #[serde(default)]
    pub audit_events: Option<String>,
    /// Key of the array in that list.
    #[serde(default = "items")]
    pub audit_items: String,
    /// Key of the id in a record.
    #[serde(default = "id")]
    pub audit_id: String,
    /// Collections; the first is the one that tokens are tried on.
    pub collection: Vec<Collection>,
}

/// A collection of resources that belong to tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Collection {
    /// Name; `{name}` in later paths is the id of a resource of this collection.
    pub name: String,
    /// Path that lists it, and that creates by POST.
    pub list: String,
    /// Path of one, with `{id}`.
    pub one: String,
    /// Key of the array in a list's answer.
    #[serde(default = "items")]
    pub items: String,
    /// Key of the id in a resource.
    #[serde(default = "id")]
    pub id: String,
    /// Body that creates a resource, as JSON; `{marker}` is a text that no other has, `{cpf}` a
    /// taxpayer's number that is well formed, `{name}` the id of a resource of an earlier collection.
    /// Without it nothing is made.
    #[serde(default)]
    pub create: Option<String>,
    /// File that is sent along; the body is sent as the fields of a form then.
    #[serde(default)]
    pub upload: Option<Upload>,
    /// Earlier collection whose resource lends its marker to what is made from it.
    #[serde(default)]
    pub marked_by: Option<String>,
    /// Whether DELETE removes one.
    #[serde(default = "yes")]
    pub removable: bool,
    /// Query that filters a list by `{marker}`.
    #[serde(default)]
    pub filter: Option<String>,
    /// Query that makes pages of one, such as `limit=1`.
    #[serde(default)]
    pub page: Option<String>,
    /// Path of the file of one, with `{id}`.
    #[serde(default)]
    pub file: Option<String>,
    /// Path whose answer holds `{marker}` some time after a resource with it was made; may hold `{id}`.
    #[serde(default)]
    pub later: Option<String>,
    /// How long that may take.
    #[serde(default = "seconds")]
    pub later_seconds: u32,
    /// Key of a list's answer with the place of the next page, sent back as query `cursor`.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A file of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upload {
    /// Name of its field.
    pub field: String,
    /// Name of the file.
    pub name: String,
    /// What is in it, with `{marker}`.
    pub content: String,
}

fn yes() -> bool {
    true
}

fn checked() -> String {
    "checked".into()
}

fn seconds() -> u32 {
    15
}

fn items() -> String {
    "items".into()
}

fn id() -> String {
    "id".into()
}

impl Recipe {
    /// Reads a recipe, TOML.
    pub fn parse(text: &str) -> Result<Self, String> {
        let recipe: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if recipe.version != VERSION {
            return Err(format!(
                "it has version {}, and this program knows version {VERSION}",
                recipe.version
            ));
        }
        if recipe.collection.is_empty() {
            return Err("it has no [[collection]]".into());
        }
        let chain = recipe.audit_verify.as_deref().unwrap_or_default();
        if recipe.audit_events.is_some() != chain.contains("{id}") {
            return Err("`audit-events` goes with an `audit-verify` that holds `{id}`".into());
        }
        for (at, collection) in recipe.collection.iter().enumerate() {
            if !collection.list.starts_with('/') || !collection.one.contains("{id}") {
                return Err(format!(
                    "collection `{}`: `list` begins with `/`, and `one` holds `{{id}}`",
                    collection.name
                ));
            }
            if let Some(body) = &collection.create {
                let filled = body.replace("{marker}", "x");
                serde_json::from_str::<serde_json::Value>(&filled).map_err(|error| {
                    format!("`create` of `{}` is no JSON: {error}", collection.name)
                })?;
                let lends = |other: &Collection| {
                    collection.marked_by.as_ref() == Some(&other.name)
                        && other.create.is_some()
                        && other.marked_by.is_none()
                };
                if collection.marked_by.is_some() {
                    if !recipe.collection[..at].iter().any(lends) {
                        return Err(format!(
                            "`marked-by` of `{}` names no earlier collection that makes something",
                            collection.name
                        ));
                    }
                } else if !body.contains("{marker}") {
                    return Err(format!(
                        "`create` of `{}` has no `{{marker}}`",
                        collection.name
                    ));
                }
            }
        }
        Ok(recipe)
    }

    /// Returns a built-in recipe.
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN.into_iter().find(|(known, _)| *known == name)?;
        Self::parse(text).ok()
    }

    /// Returns the names of the built-in recipes.
    pub fn names() -> [&'static str; 5] {
        BUILT_IN.map(|(name, _)| name)
    }
}

/// Puts values in the place of `{name}`, each escaped for a path or a query; `None` when a name has
/// no value.
pub(super) fn filled(template: &str, values: &BTreeMap<String, String>) -> Option<String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        text.push_str(before);
        let value = values.get(name)?;
        text.extend(percent_encoding::utf8_percent_encode(
            value,
            percent_encoding::NON_ALPHANUMERIC,
        ));
        rest = after;
    }
    text.push_str(rest);
    // Ids are read again in answers; `-` and `_` need no escape.
    Some(text.replace("%2D", "-").replace("%5F", "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_recipes_can_be_used() {
        for name in Recipe::names() {
            let recipe = Recipe::built_in(name).unwrap_or_else(|| panic!("{name}"));
            assert!(recipe.base.parse::<url::Url>().is_ok(), "{name}");
        }
        for (_, text) in BUILT_IN {
            Recipe::parse(text).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let good = include_str!("recipes/sample.toml");
        for (from, to) in [
            ("version = 1", "version = 2"),
            ("product", "produce"),
            ("{id}", "1"),
            ("{marker}", "x"),
        ] {
            assert!(Recipe::parse(&good.replace(from, to)).is_err(), "{from}");
        }
        let good = include_str!("recipes/reporter.toml");
        assert!(
            Recipe::parse(&good.replace("marked-by = \"template\"", "marked-by = \"x\"")).is_err()
        );
        assert!(Recipe::parse(&good.replace("marked-by = \"template\"\n", "")).is_err());
        let good = include_str!("recipes/tracer.toml");
        assert!(Recipe::parse(&good.replace("/{id}/verify", "/verify")).is_err());
    }

    #[test]
    fn values_cannot_leave_their_place() {
        let values = BTreeMap::from([("id".to_owned(), "a/../b?c-1".to_owned())]);
        assert_eq!(
            filled("/x/{id}", &values).unwrap(),
            "/x/a%2F%2E%2E%2Fb%3Fc-1"
        );
        assert_eq!(filled("/x/{other}", &values), None);
        assert_eq!(filled("/x", &values).unwrap(), "/x");
    }
}
