//! Borders that the compiler cannot hold in a single package, and marks that must not be left.
//!
//! Each check is a function from a file's text to what is wrong with it, tried on a small bad
//! sample below, so that a check that finds nothing any more is noticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file of the repository: path from its root with `/`, and text.
struct Source {
    path: String,
    text: String,
}

/// Returns every text file that belongs to the repository; generated folders are left out.
fn sources() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, found);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).unwrap();
                let path = path.to_str().unwrap().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        found.len() > 20,
        "the repository was not found at {}",
        root.display()
    );
    found
}

/// Runs a check over the files that `concerns` it and fails with everything found.
fn all_clean(concerns: impl Fn(&str) -> bool, check: impl Fn(&str, &str) -> Vec<String>) {
    let problems: Vec<String> = sources()
        .iter()
        .filter(|source| concerns(&source.path))
        .flat_map(|source| {
            check(&source.path, &source.text)
                .into_iter()
                .map(|problem| format!("{}: {problem}", source.path))
        })
        .collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == extension)
}

fn is_crate_source(path: &str) -> bool {
    path.starts_with("src/") && has_extension(path, "rs")
}

/// Returns the lines with their numbers, without what stands behind `//`.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| {
        let comment = line
            .match_indices("//")
            .map(|(position, _)| position)
            // `https://…` inside a string is no comment.
            .find(|position| *position == 0 || line.as_bytes()[position - 1] != b':');
        (at + 1, comment.map_or(line, |position| &line[..position]))
    })
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Returns where `word` stands in `line` with no identifier character before it.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !line[..*at].ends_with(is_identifier))
}

// --- Arrows between folders ---------------------------------------------------------------------

/// What each folder (or file) directly under `src/` may use of the others.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("secret", &[]),
    ("contract", &["secret"]),
    ("link", &["contract", "secret"]),
    ("output", &["secret"]),
    ("config", &["contract", "link", "secret"]),
    ("client", &["contract", "link", "secret"]),
    ("audit", &["contract", "secret"]),
    ("boot", &["contract", "secret"]),
    ("cache", &["contract", "link", "secret"]),
    ("events", &["contract", "link", "secret"]),
    ("provision", &["contract", "link", "secret"]),
    ("token", &["contract", "link", "secret"]),
    (
        "isolation",
        &["boot", "cache", "contract", "link", "provision", "secret"],
    ),
    (
        "middleware",
        &["client", "contract", "events", "link", "secret", "token"],
    ),
    ("devstack", &["contract", "link", "middleware", "secret"]),
    ("access", &["link", "secret"]),
    (
        "server",
        &[
            "access",
            "audit",
            "contract",
            "events",
            "isolation",
            "link",
            "provision",
            "secret",
            "token",
        ],
    ),
    (
        "fuzzing",
        &[
            "cache",
            "cli",
            "config",
            "contract",
            "events",
            "link",
            "provision",
            "server",
            "token",
        ],
    ),
    (
        "cli",
        &[
            "access",
            "audit",
            "boot",
            "cache",
            "client",
            "config",
            "contract",
            "devstack",
            "events",
            "isolation",
            "middleware",
            "link",
            "output",
            "provision",
            "secret",
            "server",
            "token",
        ],
    ),
];

fn arrows(path: &str, text: &str) -> Vec<String> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let home = inside.split('/').next().unwrap_or_default();
    if home == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(folder, _)| *folder == home) else {
        return vec![format!("`{home}` has no row in ARROWS of tests/tidy.rs")];
    };
    let mut problems = Vec::new();
    for target in used_folders(inside, text) {
        // What the crate's own tests stand on is no part of it.
        let stands_on = path.contains("/tests") && target.1 == "devstack";
        if target.1 != home && !stands_on && !allowed.contains(&target.1.as_str()) {
            problems.push(format!(
                "line {}: `{home}` may not use `{}`",
                target.0, target.1
            ));
        }
    }
    problems
}

/// Returns line and folder of every path that starts at the root of the crate.
fn used_folders(inside: &str, text: &str) -> Vec<(usize, String)> {
    let depth = inside.trim_end_matches("/mod").split('/').count();
    let code: Vec<(usize, &str)> = code_lines(text).collect();
    let whole: String = code.iter().flat_map(|(_, line)| [*line, "\n"]).collect();
    let mut found = Vec::new();
    let mut collect = |at: usize, rest: &str| {
        let line = whole[..at].matches('\n').count() + 1;
        for name in first_segments(rest) {
            found.push((line, name));
        }
    };
    for root in ["crate::", "lerianctl::"] {
        for at in words(&whole, root) {
            collect(at, &whole[at + root.len()..]);
        }
    }
    // `super::super::…` can climb to the root as well.
    for at in words(&whole, "super::") {
        if whole[..at].ends_with("super::") {
            continue;
        }
        let climbs = whole[at..]
            .split("super::")
            .take_while(|between| between.is_empty())
            .count();
        let line_start = whole[..at].rfind('\n').map_or(0, |newline| newline + 1);
        // Indented means inside `mod tests` or the like: one module deeper.
        let deeper = usize::from(whole[line_start..].starts_with(char::is_whitespace));
        if climbs >= depth + deeper {
            collect(at, &whole[at + climbs * "super::".len()..]);
        }
    }
    found
}

/// Returns `a` and `b` for `{a::x, b}`, and `a` for `a::x`.
fn first_segments(rest: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| is_identifier(*c))
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![identifier(rest)];
    };
    let mut level = 0_usize;
    let mut segments = vec![identifier(group)];
    for (at, character) in group.char_indices() {
        match character {
            '{' => level += 1,
            '}' if level == 0 => break,
            '}' => level -= 1,
            ',' if level == 0 => segments.push(identifier(&group[at + 1..])),
            _ => {}
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

#[test]
fn folders_use_only_what_the_map_of_the_crate_allows() {
    all_clean(is_crate_source, arrows);
}

#[test]
fn a_forbidden_arrow_is_found_in_every_spelling() {
    for text in [
        "use crate::client::Client;",
        "use crate::{\n    contract::ids,\n    client::{Client, Query},\n};",
        "fn f() { let c = crate::client::Client::new(); }",
        "use super::super::client::Client;",
        "mod tests {\n    use super::super::super::client::Client;\n}",
    ] {
        let problems = arrows("src/provision/apply.rs", text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].contains("`provision` may not use `client`"));
    }
    let fine = "/// See [`crate::client`].\nuse crate::{contract::ids, link};\nuse super::plan;";
    assert_eq!(arrows("src/provision/apply.rs", fine), [""; 0]);
    assert_eq!(arrows("src/unheard_of/mod.rs", "").len(), 1);
}

// --- What only one place may do -----------------------------------------------------------------

/// A spelling, and the files that may use it.
const RESERVED: &[(&str, &[&str])] = &[
    ("println!", &[]),
    ("eprintln!", &[]),
    ("print!", &[]),
    ("eprint!", &[]),
    ("dbg!", &[]),
    ("stdout()", &["src/output/", "src/cli/environment.rs"]),
    (
        "stderr()",
        &[
            "src/output/",
            "src/cli/environment.rs",
            "src/cli/approve.rs",
        ],
    ),
    (
        "env::var",
        &[
            "src/cli/environment.rs",
            // Tests look for PostgreSQL where the user's shell would.
            "src/server/registry/tests/places.rs",
        ],
    ),
    ("env::set_var", &[]),
    ("env::remove_var", &[]),
    ("process::exit", &[]),
    ("process::abort", &[]),
    ("clap::", &["src/cli/"]),
    ("clap_complete::", &["src/cli/"]),
    ("dialoguer::", &["src/cli/"]),
    ("indicatif::", &["src/output/"]),
    ("comfy_table::", &["src/output/"]),
];

fn reserved(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in code_lines(text) {
        for (spelling, places) in RESERVED {
            let elsewhere = !places.iter().any(|place| path.starts_with(place));
            if elsewhere && words(line, spelling).next().is_some() {
                problems.push(format!(
                    "line {number}: `{spelling}` is for {}",
                    if places.is_empty() {
                        "nobody".to_owned()
                    } else {
                        places.join(" and ")
                    }
                ));
            }
        }
    }
    problems
}

#[test]
fn printing_variables_and_exits_have_one_place_each() {
    all_clean(is_crate_source, reserved);
}

#[test]
fn a_reserved_spelling_is_found_elsewhere() {
    for text in [
        "println!(\"x\");",
        "std::env::var(\"HOME\")",
        "std::env::vars_os()",
        "std::process::exit(1)",
        "use clap::Args;",
    ] {
        assert_eq!(reserved("src/provision/apply.rs", text).len(), 1, "{text}");
    }
    assert_eq!(
        reserved("src/cli/environment.rs", "std::env::vars_os()"),
        [""; 0]
    );
    assert_eq!(
        reserved("src/cli/mod.rs", "use clap::Parser; // println!"),
        [""; 0]
    );
    assert_eq!(
        reserved("src/output/view.rs", "self.my_println!()"),
        [""; 0]
    );
}

// --- Marks that must not be left ------------------------------------------------------------------

/// Folders of somebody's machine, unfinished work, and words that say nothing.
const FORBIDDEN: &[&str] = &[
    "/root/",
    "/Users/",
    "/work/",
    "/tmp/wt",
    "TODO",
    "FIXME",
    "XXX",
    "todo!(",
    "unimplemented!(",
    "#[ignore]",
    "blacklist",
    "whitelist",
    "dummy",
];

fn forbidden(path: &str, text: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let mut problems = Vec::new();
    if ["util", "utils", "helper", "helpers", "misc", "common"].contains(&stem) {
        problems.push("the file's name says nothing about what is in it".to_owned());
    }
    for (at, line) in text.lines().enumerate() {
        for word in FORBIDDEN {
            // `XXXXXX` in a template for mktemp is not a mark.
            let stands_alone = |start: usize| {
                !word.ends_with(is_identifier)
                    || !line[start + word.len()..].starts_with(is_identifier)
            };
            if words(line, word).any(stands_alone) {
                problems.push(format!("line {}: `{word}`", at + 1));
            }
        }
    }
    problems
}

#[test]
fn no_machine_path_and_no_unfinished_mark_is_left() {
    all_clean(
        |path| path != "tests/tidy.rs" && path != "Cargo.lock",
        forbidden,
    );
}

#[test]
fn a_forbidden_mark_is_found() {
    assert_eq!(
        forbidden("README.md", "see /Users/maria/x\n\n// TODO").len(),
        2
    );
    assert_eq!(forbidden("src/cli/util.rs", "").len(), 1);
    assert_eq!(
        forbidden("src/cli/mod.rs", "x = unimplemented!();").len(),
        1
    );
    assert_eq!(forbidden("src/cli/mod.rs", "fn todo() {}"), [""; 0]);
    assert_eq!(forbidden("scripts/demo", "mktemp -d x.XXXXXX"), [""; 0]);
}

// --- Size -------------------------------------------------------------------------------------------

const LONGEST: usize = 800;

fn too_long(_path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines > LONGEST {
        vec![format!("{lines} lines; split it, the limit is {LONGEST}")]
    } else {
        Vec::new()
    }
}

#[test]
fn no_source_file_is_too_long() {
    all_clean(
        |path| has_extension(path, "rs") || path.starts_with("scripts/"),
        too_long,
    );
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(too_long("", &"x\n".repeat(LONGEST + 1)).len(), 1);
    assert_eq!(too_long("", &"x\n".repeat(LONGEST)), [""; 0]);
}

// --- Tests ------------------------------------------------------------------------------------------

/// Returns the files directly in `tests/` that `main` does not declare as modules.
fn undeclared(main: &str, files: &[&str]) -> Vec<String> {
    let declared: BTreeSet<&str> = code_lines(main)
        .filter_map(|(_, line)| line.trim().strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    files
        .iter()
        .filter(|file| **file != "main" && !declared.contains(*file))
        .map(|file| format!("tests/{file}.rs is not declared in tests/main.rs and never runs"))
        .collect()
}

#[test]
fn every_test_file_runs() {
    let sources = sources();
    let main = sources.iter().find(|s| s.path == "tests/main.rs").unwrap();
    let files: Vec<&str> = sources
        .iter()
        .filter_map(|source| source.path.strip_prefix("tests/")?.strip_suffix(".rs"))
        .map(|file| file.trim_end_matches("/mod"))
        .filter(|file| !file.contains('/'))
        .collect();
    assert!(files.contains(&"tidy"));
    assert_eq!(undeclared(&main.text, &files), [""; 0]);
}

#[test]
fn a_forgotten_test_file_is_found() {
    assert_eq!(
        undeclared("mod a;\n// mod b;\n", &["main", "a", "b"]).len(),
        1
    );
}

// --- Error codes ------------------------------------------------------------------------------------

/// What stands behind the dot in a file's name, not in a code.
const EXTENSIONS: &[&str] = &[
    "bash", "conf", "db", "elv", "env", "fish", "html", "json", "key", "lock", "log", "md", "pem",
    "pid", "sock", "sql", "sqlite", "toml", "txt", "yaml",
];

/// Where codes are chosen. `key.rs` has the names of settings, which look the same.
fn chooses_codes(path: &str) -> bool {
    [
        "src/cli/",
        "src/client/",
        "src/config/",
        "src/server/",
        "src/token/",
    ]
    .iter()
    .any(|folder| path.starts_with(folder))
        && path != "src/config/key.rs"
        && !path.starts_with("src/cli/explain/pages")
        && !path.ends_with("/tests.rs")
}

/// Returns every string that looks like a code, `noun.reason`, outside of unit tests.
fn codes(text: &str) -> BTreeSet<String> {
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let words_of = |literal: &str| -> Option<String> {
        let (noun, reason) = literal.split_once('.')?;
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        let code = word(noun) && word(reason) && !EXTENSIONS.contains(&reason);
        // The name of a field in a sentence.
        let code = code && literal != "owner.email";
        code.then(|| literal.to_owned())
    };
    code_lines(product)
        .flat_map(|(_, line)| line.split('"').skip(1).step_by(2))
        .filter_map(words_of)
        .collect()
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let used: BTreeSet<String> = sources()
        .iter()
        .filter(|source| is_crate_source(&source.path) && chooses_codes(&source.path))
        .flat_map(|source| codes(&source.text))
        .collect();
    let explained: BTreeSet<String> = lerianctl::cli::explain::codes()
        // `usage` and `internal` are used everywhere.
        .filter(|code| code.contains('.'))
        .map(Into::into)
        .collect();
    let missing: Vec<&String> = used.difference(&explained).collect();
    let unused: Vec<&String> = explained.difference(&used).collect();
    assert!(missing.is_empty(), "codes without a page: {missing:#?}");
    assert!(
        unused.is_empty(),
        "pages of codes that nothing uses: {unused:#?}"
    );
}

#[test]
fn codes_are_found_and_nothing_else() {
    let text = "\
        Failure::new(Kind::Usage, \"input.too_large\", \"a sentence. another\")\n\
        folder.join(\"config.toml\"); url(\"https://tm.example\"); // \"comment.code\"\n\
        #[cfg(test)]\nmod tests { \"test.only\" }";
    assert_eq!(codes(text), BTreeSet::from(["input.too_large".to_owned()]));
}
