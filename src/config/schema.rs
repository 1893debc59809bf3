//! The JSON Schema of the config file, from the table of settings.

use serde_json::{Map, Value, json};

use super::file::{Form, form};
use super::key::{SETTINGS, Setting};

/// Returns the schema.
pub fn schema() -> Value {
    let mut context = object("A deployment.");
    for setting in SETTINGS {
        if let Some(path) = setting.context {
            put(&mut context, path, setting);
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "lerianctl/v1/ConfigFile",
        "title": "ConfigFile",
        "description": "The config file of lerianctl, a TOML file.",
        "type": "object",
        "additionalProperties": false,
        "required": ["version"],
        "properties": {
            "version": { "const": 1, "description": "Version of the file's form." },
            "current-context": {
                "type": "string",
                "description": "The context that is used when none is named.",
            },
            "context": {
                "type": "object",
                "description": "Deployments by name.",
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
                "additionalProperties": context,
            },
        },
        "$defs": { "secret": secret() },
    })
}

fn object(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "properties": {},
    })
}

/// Puts a setting at its path, making the tables on the way.
fn put(table: &mut Value, path: &[&str], setting: &Setting) {
    let Some(properties) = table["properties"].as_object_mut() else {
        return;
    };
    match path {
        [] => {}
        [name] => {
            properties.insert((*name).to_owned(), value(setting));
        }
        [name, rest @ ..] => {
            let inner = properties
                .entry(*name)
                .or_insert_with(|| object(&format!("Settings of `{name}`.")));
            put(inner, rest, setting);
        }
    }
}

fn value(setting: &Setting) -> Value {
    let mut value = match form(setting.key) {
        Form::Text | Form::File => json!({ "type": "string", "minLength": 1 }),
        Form::Number => json!({ "type": "integer", "minimum": 0, "maximum": 65535 }),
        Form::Boolean => json!({ "type": "boolean" }),
        Form::Secret => json!({ "$ref": "#/$defs/secret" }),
    };
    value["description"] = format!("{}.", setting.doc).into();
    if let Some(default) = setting.default {
        // A default is written as it would be in the file.
        value["default"] = match form(setting.key) {
            Form::Number | Form::Boolean => serde_json::from_str(default).unwrap_or_default(),
            _ => default.into(),
        };
    }
    value
}

fn secret() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let place = |name: &str, form: Value| {
        let properties = Map::from_iter([(name.to_owned(), form)]);
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": [name],
            "properties": properties,
        })
    };
    json!({
        "description": "A secret: itself, in a file that only its owner can read, or where it is.",
        "oneOf": [
            text,
            place("env", text.clone()),
            place("file", text.clone()),
            place("keyring", text.clone()),
            place("command", json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })),
        ],
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{ConfigFile, ConfigText};

    /// Returns whether the schema accepts a file, and whether lerianctl does, warnings counted.
    fn both(text: &str) -> (bool, bool) {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let document: toml::Value = toml::from_str(text).unwrap();
        let accepted = validator.is_valid(&serde_json::to_value(document).unwrap());
        let source = ConfigText {
            path: "/home/me/config.toml".into(),
            text: text.to_owned(),
            writable: None,
            readable: None,
        };
        let file = ConfigFile::parse(&source, Some(Path::new("/home/me")));
        let sound = file.problems.is_empty()
            && file.warnings.is_empty()
            && file
                .contexts
                .values()
                .all(|context| context.problems.is_empty());
        (accepted, sound)
    }

    #[test]
    fn the_schema_and_the_reader_agree() {
        let in_context = |line: &str| format!("version = 1\n[context.a]\n{line}\n");
        for (text, good) in [
            ("version = 1\ncurrent-context = \"a\"\n".to_owned(), true),
            ("current-context = \"a\"\n".to_owned(), false),
            ("version = 2\n".to_owned(), false),
            ("version = 1\ncontxt = \"a\"\n".to_owned(), false),
            ("version = 1\n[context.\"a b\"]\n".to_owned(), false),
            (in_context("server = \"https://tm.example\""), true),
            (in_context("server = 5"), false),
            (in_context("sever = \"https://tm.example\""), false),
            (in_context("ca-file = \"ca.pem\""), true),
            (in_context("client-key-file = { file = \"x\" }"), false),
            (in_context("protected = true"), true),
            (in_context("protected = \"yes\""), false),
            (
                in_context("redis = { host = \"r\", port = 6379, tls = true }"),
                true,
            ),
            (
                in_context("redis = { host = \"r\", port = \"6379\" }"),
                false,
            ),
            (in_context("redis = \"r\""), false),
            (
                in_context("auth = { address = \"https://am.example\" }"),
                true,
            ),
            (
                in_context("auth = { addresz = \"https://am.example\" }"),
                false,
            ),
            (in_context("api-key = \"k\""), true),
            (in_context("api-key = { env = \"K\" }"), true),
            (in_context("api-key = { keyring = \"k\" }"), true),
            (
                in_context("api-key = { command = [\"op\", \"read\"] }"),
                true,
            ),
            (in_context("api-key = { command = \"op read\" }"), false),
            (in_context("api-key = { command = [] }"), false),
            (in_context("api-key = { env = \"K\", file = \"f\" }"), false),
            (in_context("api-key = { vault = \"K\" }"), false),
        ] {
            assert_eq!(both(&text), (good, good), "{text}");
        }
    }
}
