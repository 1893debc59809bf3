//! Edits of the config file's text that keep comments and layout.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};

use super::file::is_context_name;
use super::problem::{Problem, shown};

/// A context to write.
#[derive(Debug, Clone, Default)]
pub struct NewContext {
    /// URL of the Tenant Manager.
    pub server: Option<String>,
    /// Place of the API key.
    pub api_key: Option<KeyPlace>,
    /// Environment.
    pub environment: Option<String>,
    /// Host and port of the Redis.
    pub redis: Option<(String, Option<u16>)>,
    /// Whether anything above a read asks for the context's name first.
    pub protected: bool,
    /// Whether plain http is accepted beyond this machine.
    pub allow_insecure_http: bool,
}

/// Where a context finds its API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a variable.
    Environment(String),
    /// In a file.
    File(String),
    /// On the output of a program: its words.
    Command(Vec<String>),
}

fn document(text: &str) -> Result<DocumentMut, Problem> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let line = error.span().map_or(1, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        Problem::new(
            "config.syntax",
            format!("the config file is not valid TOML at line {line}"),
        )
        .hint("see `lerianctl config validate`")
    })?;
    match document.get("version") {
        None => {
            document.insert("version", value(1));
        }
        Some(item) if item.as_integer() == Some(1) => {}
        Some(_) => {
            return Err(Problem::new(
                "config.invalid_value",
                "the config file has a `version` that this lerianctl does not know",
            ));
        }
    }
    Ok(document)
}

fn checked(name: &str) -> Result<(), Problem> {
    if is_context_name(name) {
        return Ok(());
    }
    Err(Problem::new(
        "config.invalid_value",
        format!(
            "`{}` is no name for a context: use 1 to 64 letters, digits, `-` or `_`",
            shown(name)
        ),
    ))
}

/// Returns `text` with `name` as the current context. The context must exist.
pub fn use_context(text: &str, name: &str) -> Result<String, Problem> {
    checked(name)?;
    let mut document = document(text)?;
    let known = document
        .get("context")
        .and_then(Item::as_table_like)
        .is_some_and(|contexts| contexts.contains_key(name));
    if !known {
        return Err(Problem::new(
            "config.unknown_context",
            format!("there is no context `{name}` in the config file"),
        )
        .hint("list them with `lerianctl config list`"));
    }
    set_current(&mut document, name);
    Ok(document.to_string())
}

/// Sets `current-context` and keeps the comment behind the old value.
fn set_current(document: &mut DocumentMut, name: &str) {
    let decor = document
        .get("current-context")
        .and_then(Item::as_value)
        .map(|old| old.decor().clone());
    document.insert("current-context", value(name));
    if let (Some(decor), Some(new)) = (
        decor,
        document
            .get_mut("current-context")
            .and_then(Item::as_value_mut),
    ) {
        *new.decor_mut() = decor;
    }
}

/// Returns `text` with a new context; it becomes the current one when there is none.
///
/// A context of that name that exists is a problem unless `replace`.
pub fn add_context(
    text: &str,
    name: &str,
    new: &NewContext,
    replace: bool,
) -> Result<String, Problem> {
    checked(name)?;
    let mut document = document(text)?;
    let contexts = document
        .entry("context")
        .or_insert_with(|| {
            let mut table = Table::new();
            // Only `[context.NAME]` headers are written.
            table.set_implicit(true);
            Item::Table(table)
        })
        .as_table_like_mut()
        .ok_or_else(|| Problem::new("config.invalid_value", "`context` must be a table"))?;
    if contexts.contains_key(name) && !replace {
        return Err(Problem::new(
            "config.context_exists",
            format!("the config file has a context `{name}` already"),
        )
        .hint("choose another name, or replace it with --force"));
    }
    contexts.insert(name, Item::Table(table(new)));
    if document.get("current-context").is_none() {
        set_current(&mut document, name);
    }
    Ok(document.to_string())
}

fn table(new: &NewContext) -> Table {
    let mut table = Table::new();
    if let Some(server) = &new.server {
        table.insert("server", value(server));
    }
    if let Some(key) = &new.api_key {
        let mut place = InlineTable::new();
        match key {
            KeyPlace::Environment(name) => place.insert("env", name.into()),
            KeyPlace::File(path) => place.insert("file", path.into()),
            KeyPlace::Command(argv) => {
                place.insert("command", argv.iter().collect::<Array>().into())
            }
        };
        table.insert("api-key", value(place));
    }
    if let Some(environment) = &new.environment {
        table.insert("environment", value(environment));
    }
    if let Some((host, port)) = &new.redis {
        let mut redis = InlineTable::new();
        redis.insert("host", host.into());
        if let Some(port) = port {
            redis.insert("port", i64::from(*port).into());
        }
        table.insert("redis", value(redis));
    }
    if new.protected {
        table.insert("protected", value(true));
    }
    if new.allow_insecure_http {
        table.insert("allow-insecure-http", value(true));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# ours\nversion = 1\ncurrent-context = \"a\" # for now\n\n# the first\n[context.a]\nserver = \"https://a\" # a\n\n[context.b]\nserver = \"https://b\"\n";

    #[test]
    fn using_another_context_changes_one_word() {
        let new = use_context(OLD, "b").unwrap();
        assert_eq!(new, OLD.replace("\"a\" # for now", "\"b\" # for now"));
        assert_eq!(
            use_context(OLD, "c").unwrap_err().code,
            "config.unknown_context"
        );
        assert!(use_context("version = 1\nx = ", "a").is_err());
        assert!(use_context("version = 2\n[context.a]", "a").is_err());
    }

    #[test]
    fn a_new_context_leaves_the_others_alone() {
        let context = NewContext {
            server: Some("https://c\"\n[context.a]".to_owned()),
            api_key: Some(KeyPlace::Command(vec![
                "op".to_owned(),
                "read \"x\"".to_owned(),
            ])),
            protected: true,
            ..NewContext::default()
        };
        let new = add_context(OLD, "c", &context, false).unwrap();
        assert!(new.starts_with(OLD), "{new}");
        let document: DocumentMut = new.parse().unwrap();
        assert_eq!(
            document["context"]["c"]["server"].as_str(),
            Some("https://c\"\n[context.a]")
        );
        assert_eq!(document["current-context"].as_str(), Some("a"));
        assert!(add_context(&new, "c", &context, false).is_err());
        assert!(add_context(&new, "c", &context, true).is_ok());
        assert!(add_context(OLD, "c.d]", &context, false).is_err());
    }

    #[test]
    fn the_first_context_becomes_the_current_one() {
        let new = add_context("", "dev", &NewContext::default(), false).unwrap();
        assert_eq!(
            new,
            "version = 1\ncurrent-context = \"dev\"\n\n[context.dev]\n"
        );
    }
}
