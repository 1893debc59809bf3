//! Generated files are committed and fresh; `make generate` writes them again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lerianctl::cli::generate::{completion::Shell, docs, man, schema};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every generated file by its path in the repository.
fn fresh() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for (shell, name) in Shell::ALL {
        let script = String::from_utf8(shell.registration()).expect("a script is text");
        files.insert(Path::new("completions").join(name), script);
    }
    for (name, page) in man::pages() {
        files.insert(Path::new("man").join(name), page);
    }
    for (kind, schema) in schema::schemas() {
        let text = serde_json::to_string_pretty(&schema).expect("a schema serialises");
        files.insert(
            Path::new("schema").join(format!("{kind}.json")),
            format!("{text}\n"),
        );
    }
    let openapi = serde_json::to_string_pretty(&lerianctl::contract::openapi::document());
    files.insert(
        PathBuf::from("openapi/tenant-manager.json"),
        format!("{}\n", openapi.expect("a document serialises")),
    );
    let tree = serde_json::to_string_pretty(&docs::tree()).expect("a tree serialises");
    files.insert(PathBuf::from("schema/commands.json"), format!("{tree}\n"));
    files
}

#[test]
fn generated_files_are_fresh() {
    let fresh = fresh();
    let mut stale = Vec::new();
    for (path, text) in &fresh {
        match std::fs::read_to_string(repository().join(path)) {
            Ok(found) if found == *text => {}
            Ok(_) => stale.push(format!("{} differs", path.display())),
            Err(error) => stale.push(format!("{}: {error}", path.display())),
        }
    }
    for folder in ["completions", "man", "openapi", "schema"] {
        for entry in std::fs::read_dir(repository().join(folder))
            .into_iter()
            .flatten()
        {
            let name = entry.expect("a folder can be listed").file_name();
            let path = Path::new(folder).join(name);
            if !fresh.contains_key(&path) {
                stale.push(format!("{} is not generated any more", path.display()));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "run `make generate` and commit what it writes:\n{}",
        stale.join("\n")
    );
}

#[test]
fn every_script_calls_back_for_candidates() {
    for (shell, name) in Shell::ALL {
        let script = String::from_utf8(shell.registration()).expect("a script is text");
        assert!(script.contains("LERIANCTL_COMPLETE"), "{name}: {script}");
    }
}
