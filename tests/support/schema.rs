//! Checks the JSON documents of the binary against the schemas that it publishes.
//!
//! Only what our schemas use is understood; a keyword that is not fails the test instead of being
//! passed over. Stricter than JSON Schema in one point: a key that no schema describes is wrong,
//! because it would be an undocumented part of the interface.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use lerianctl::cli::generate::schema::schemas;
use serde_json::{Map, Value};

static SCHEMAS: LazyLock<BTreeMap<&'static str, Value>> =
    LazyLock::new(|| schemas().into_iter().collect());

/// Says what is wrong with a document; nothing for JSON that is none of our documents.
pub(crate) fn problems(document: &Value) -> Vec<String> {
    if document["apiVersion"] != "lerianctl/v1" {
        return Vec::new();
    }
    let kind = document["kind"].as_str().unwrap_or_default();
    match SCHEMAS.get(kind) {
        Some(schema) => against(schema, document),
        None => vec![format!("kind `{kind}` has no schema")],
    }
}

/// Says where `value` is not what `schema` says.
pub(crate) fn against(schema: &Value, value: &Value) -> Vec<String> {
    let mut check = Check {
        root: schema,
        problems: Vec::new(),
    };
    check.place(schema, value, "");
    check.problems
}

struct Check<'a> {
    root: &'a Value,
    problems: Vec<String>,
}

/// Keys of an object that some schema has described.
#[derive(Default)]
struct Described {
    keys: BTreeSet<String>,
    any: bool,
}

impl<'a> Check<'a> {
    fn wrong(&mut self, at: &str, what: impl std::fmt::Display) {
        let at = if at.is_empty() { "/" } else { at };
        self.problems.push(format!("{at}: {what}"));
    }

    /// Checks one place of the document with everything that is said about it.
    fn place(&mut self, schema: &'a Value, value: &Value, at: &str) {
        let mut described = Described::default();
        self.value(schema, value, at, &mut described);
        if let Value::Object(object) = value
            && !described.any
        {
            for key in object.keys().filter(|key| !described.keys.contains(*key)) {
                self.wrong(at, format_args!("no schema describes the key `{key}`"));
            }
        }
    }

    fn value(&mut self, schema: &'a Value, value: &Value, at: &str, described: &mut Described) {
        let schema = match schema {
            Value::Bool(true) => {
                described.any = true;
                return;
            }
            Value::Object(schema) => schema,
            other => panic!("not a schema: {other}"),
        };
        let constrains = [
            "type",
            "$ref",
            "const",
            "enum",
            "allOf",
            "anyOf",
            "oneOf",
            "properties",
        ];
        // A schema that only describes in words accepts anything.
        if !constrains
            .iter()
            .any(|keyword| schema.contains_key(*keyword))
        {
            described.any = true;
        }
        for (keyword, rule) in schema {
            self.rule(schema, keyword, rule, value, at, described);
        }
    }

    fn rule(
        &mut self,
        schema: &'a Map<String, Value>,
        keyword: &str,
        rule: &'a Value,
        value: &Value,
        at: &str,
        described: &mut Described,
    ) {
        match keyword {
            "$ref" => {
                let pointer = rule.as_str().expect("a reference is text");
                let root = self.root;
                let target = root
                    .pointer(pointer.trim_start_matches('#'))
                    .unwrap_or_else(|| panic!("{pointer} leads nowhere"));
                self.value(target, value, at, described);
            }
            "type" => {
                let words: Vec<&str> = match rule {
                    Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
                    word => word.as_str().into_iter().collect(),
                };
                if !words.iter().any(|word| is(value, word)) {
                    self.wrong(at, format_args!("{value} is not {}", words.join(" or ")));
                }
            }
            "const" if value != rule => self.wrong(at, format_args!("{value} is not {rule}")),
            "enum" if !rule.as_array().expect("a list").contains(value) => {
                self.wrong(at, format_args!("{value} is none of {rule}"));
            }
            "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => {
                self.wrong(at, format_args!("{value} is less than {rule}"));
            }
            "maximum" if value.is_number() && value.as_f64() > rule.as_f64() => {
                self.wrong(at, format_args!("{value} is more than {rule}"));
            }
            "required" => {
                for key in rule
                    .as_array()
                    .expect("a list")
                    .iter()
                    .filter_map(Value::as_str)
                {
                    if value.is_object() && value.get(key).is_none() {
                        self.wrong(at, format_args!("`{key}` is missing"));
                    }
                }
            }
            "properties" => {
                for (key, inner) in rule.as_object().expect("an object") {
                    described.keys.insert(key.clone());
                    if let Some(found) = value.get(key) {
                        self.place(inner, found, &format!("{at}/{key}"));
                    }
                }
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object);
                described.any |= rule != &Value::Bool(false);
                for (key, found) in value.as_object().into_iter().flatten() {
                    if named.is_some_and(|named| named.contains_key(key)) {
                        continue;
                    }
                    if rule.is_object() {
                        self.place(rule, found, &format!("{at}/{key}"));
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.place(rule, item, &format!("{at}/{index}"));
                }
            }
            "allOf" => {
                for part in rule.as_array().expect("a list") {
                    self.value(part, value, at, described);
                }
            }
            "anyOf" | "oneOf" => self.choice(keyword, rule, value, at, described),
            "const" | "enum" | "minimum" | "maximum" | "$schema" | "$id" | "$defs" | "title"
            | "description" | "default" | "examples" | "format" => {}
            other => {
                panic!("the keyword `{other}` is not understood: teach tests/support/schema.rs")
            }
        }
    }

    fn choice(
        &mut self,
        keyword: &str,
        rule: &'a Value,
        value: &Value,
        at: &str,
        described: &mut Described,
    ) {
        let mut fitting = 0;
        let mut reasons = Vec::new();
        for part in rule.as_array().expect("a list") {
            let mut branch = Check {
                root: self.root,
                problems: Vec::new(),
            };
            let mut keys = Described::default();
            branch.value(part, value, at, &mut keys);
            if branch.problems.is_empty() {
                fitting += 1;
                described.keys.extend(keys.keys);
                described.any |= keys.any;
            } else {
                reasons.push(branch.problems.join(", "));
            }
        }
        if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
            let reasons = reasons.join("; ");
            self.wrong(
                at,
                format_args!("{fitting} choices of {keyword} fit: {reasons}"),
            );
        }
    }
}

fn is(value: &Value, word: &str) -> bool {
    match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("`{other}` is no type of JSON"),
    }
}
