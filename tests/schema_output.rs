//! The schemas describe what the binary prints, and every kind has one.
//!
//! [`Output::json`](crate::support::Output::json) checks every document that any test reads; here
//! are the kinds that need no server, and the checker itself.

use std::collections::BTreeSet;
use std::path::Path;

use lerianctl::cli::generate::schema::schemas;
use serde_json::json;

use crate::support::{Sandbox, schema};

/// Returns what is between the quotes behind each `before` in the sources of the crate.
fn quoted_behind(befores: &[&str]) -> BTreeSet<String> {
    fn walk(folder: &Path, befores: &[&str], found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, befores, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for before in befores {
                for (at, _) in text.match_indices(before) {
                    let rest = text[at + before.len()..].trim_start();
                    let Some(rest) = rest.strip_prefix('"') else {
                        continue;
                    };
                    let word = rest.split('"').next().unwrap_or_default();
                    // `unwrap("…")` ends like `wrap("…")`; kinds begin with a capital letter.
                    if word.starts_with(|c: char| c.is_ascii_uppercase()) {
                        found.insert(word.to_owned());
                    }
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    walk(&root, befores, &mut found);
    found
}

#[test]
fn every_kind_has_a_schema_and_every_schema_a_kind() {
    let kinds = quoted_behind(&["const KIND: &'static str =", "wrap("]);
    let known: BTreeSet<String> = schemas()
        .into_iter()
        .map(|(kind, _)| kind.to_owned())
        // What lerianctl reads, and never prints.
        .filter(|kind| kind != "ConfigFile")
        .collect();
    assert!(kinds.len() > 10, "{kinds:?}");
    assert_eq!(kinds, known, "left: the sources; right: `lerianctl schema`");
}

/// A token that nobody signed, of no tenant.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.";

#[test]
fn real_documents_fit_their_schemas() {
    let room = Sandbox::new();
    let mut seen = BTreeSet::new();
    let mut look = |arguments: &[&str], status: i32| {
        for format in ["json", "jsonl"] {
            let output = room
                .run_with_input(arguments.iter().chain(&["-o", format]), TOKEN)
                .exits(status);
            // Both check what they return.
            let documents = match format {
                "json" => vec![output.json()],
                _ => output.json_lines(),
            };
            assert!(!documents.is_empty(), "{output}");
            let kinds = documents
                .iter()
                .filter_map(|document| document["kind"].as_str());
            seen.extend(kinds.map(str::to_owned));
        }
    };
    look(&["version"], 0);
    look(&["explain"], 0);
    look(&["explain", "tenant.conflict"], 0);
    look(&["explain", "nonsense"], 5);
    look(&["tenant", "list"], 2);
    look(&["tenant", "lst"], 2);
    look(&["dev", "down"], 0);
    look(&["dev", "reset"], 0);
    look(&["dev", "status"], 5);
    look(&["token", "inspect", "-"], 0);
    look(&["config", "list"], 0);
    look(&["config", "explain"], 0);
    let server = ["--server", "https://tm.example"];
    look(&[&["config", "init", "a"], &server[..]].concat(), 0);
    look(&["config", "use", "a"], 0);
    look(&["config", "list"], 0);
    look(&["config", "explain", "server"], 0);
    look(&["config", "validate"], 0);
    look(&["env", "explain"], 0);
    look(
        &["env", "check", "--helm", "/dev/null", "--product", "tracer"],
        0,
    );
    look(
        &[&["env", "render", "--product", "tracer"], &server[..]].concat(),
        0,
    );
    let expected = [
        "Config",
        "ConfigChange",
        "ConfigValidation",
        "ContextList",
        "DevDown",
        "DevReset",
        "EnvBlock",
        "EnvCheck",
        "EnvExplanation",
        "Error",
        "Explanation",
        "Summary",
        "TokenInspection",
        "Version",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
}

#[test]
fn the_checker_finds_what_does_not_fit() {
    let envelope = |kind: &str, mut body: serde_json::Value| {
        body["apiVersion"] = "lerianctl/v1".into();
        body["kind"] = kind.into();
        body
    };
    let fits = |kind, body| schema::problems(&envelope(kind, body));
    assert_eq!(fits("Summary", json!({"items": 1, "ok": true})), [""; 0]);
    for (kind, body) in [
        ("Summary", json!({"ok": true})),
        ("Summary", json!({"items": -1, "ok": true})),
        ("Summary", json!({"items": "1", "ok": true})),
        ("Summary", json!({"items": 1, "ok": true, "more": 1})),
        ("Nonsense", json!({})),
        ("Explanation", json!({})),
        ("Explanation", json!({"items": [1]})),
        ("Error", json!({"error": {"code": "a.b"}})),
        (
            "Error",
            json!({"error": {
                "code": "a.b", "exitStatus": 256, "message": "", "causes": [], "hints": [],
                "target": null, "retryable": false, "requestId": null, "operationId": null,
            }}),
        ),
    ] {
        assert!(!fits(kind, body.clone()).is_empty(), "{kind} {body}");
    }
    // Not one of our documents.
    assert_eq!(schema::problems(&json!({"kind": "Nonsense"})), [""; 0]);
}

#[test]
fn an_unknown_kind_or_schema_names_its_neighbour() {
    let room = Sandbox::new();
    let output = room.run(["schema", "TenantLst"]).exits(5);
    assert!(output.stderr.contains("TenantList"), "{output}");
    let output = room.run(["explain", "tenant.conflit"]).exits(5);
    assert!(output.stderr.contains("tenant.conflict"), "{output}");
}
