//! Every error code has a page, every page has a code, and the pages say what is so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lerianctl::cli::{command, explain};
use lerianctl::config::SETTINGS;

use crate::support::Sandbox;

/// Where a code stands in the sources: its exit statuses and HTTP statuses, as far as the place
/// tells them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Raised {
    places: Vec<String>,
    exit: BTreeSet<u16>,
    http: BTreeSet<u16>,
}

/// What is spelt like a code and is none: settings, and names of the code's own.
fn is_other(text: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == text)
        || [
            "toml", "json", "txt", "pem", "db", "conf", "log", "key", "path",
        ]
        .iter()
        .any(|extension| text.ends_with(&format!(".{extension}")))
        || [
            // Types of events.
            "tenant.created",
            "tenant.updated",
            "tenant.activated",
            "tenant.deleted",
            "tenant.cache.invalidate",
            // A field.
            "owner.email",
        ]
        .contains(&text)
}

fn is_code(text: &str) -> bool {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    text.split_once('.')
        .is_some_and(|(noun, reason)| word(noun) && word(reason))
}

/// Returns the exit status of a word after `Kind::`.
fn exit_of(kind: &str) -> Option<u16> {
    Some(match kind {
        "Internal" => 1,
        "Usage" => 2,
        "Verdict" => 3,
        "Auth" => 4,
        "NotFound" => 5,
        "Conflict" => 6,
        "Unavailable" => 7,
        "Deadline" => 8,
        "Partial" => 9,
        "Refused" => 10,
        "Unsupported" => 11,
        "Interrupted" => 130,
        "Terminated" => 143,
        _ => return None,
    })
}

/// Returns the HTTP status of what stands before a code of the server, without white space.
fn http_of(before: &str) -> Option<u16> {
    let last = before.trim_end_matches(['(', ',']);
    if let Some(at) = last.rfind("StatusCode::") {
        return Some(match &last[at + "StatusCode::".len()..] {
            "BAD_REQUEST" => 400,
            "UNAUTHORIZED" => 401,
            "FORBIDDEN" => 403,
            "NOT_FOUND" => 404,
            "METHOD_NOT_ALLOWED" => 405,
            "REQUEST_TIMEOUT" => 408,
            "CONFLICT" => 409,
            "PAYLOAD_TOO_LARGE" => 413,
            "UNSUPPORTED_MEDIA_TYPE" => 415,
            "UNPROCESSABLE_ENTITY" => 422,
            "TOO_MANY_REQUESTS" => 429,
            "INTERNAL_SERVER_ERROR" => 500,
            "SERVICE_UNAVAILABLE" => 503,
            _ => return None,
        });
    }
    [
        ("conflict(", 409),
        ("not_found(", 404),
        ("unavailable(", 503),
        ("refused(\"suspended\",", 403),
        ("refused(\"purged\",", 403),
    ]
    .iter()
    .find(|(form, _)| before.ends_with(form))
    .map(|(_, status)| *status)
}

/// Returns the exit status that lerianctl ends with after an answer of the server.
fn exit_after(http: u16) -> u16 {
    match http {
        401 | 403 => 4,
        404 => 5,
        409 => 6,
        408 | 429 | 500.. => 7,
        _ => 2,
    }
}

/// Collects the codes of one file. `nouns` makes a code of every literal that begins so, wherever
/// it stands.
fn collect(path: &str, text: &str, nouns: &BTreeSet<&str>, found: &mut BTreeMap<String, Raised>) {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    // Whole-line comments hold no code; a `//` inside a literal is left alone.
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    for (at, _) in code.match_indices('"') {
        let rest = &code[at + 1..];
        let Some(end) = rest.find('"') else { continue };
        let literal = &rest[..end];
        let before: String = code[at.saturating_sub(120)..at]
            .split_whitespace()
            .collect::<Vec<_>>()
            .concat();
        let exit = before
            .strip_suffix(',')
            .and_then(|before| before.rsplit_once("Kind::"))
            .and_then(|(_, kind)| exit_of(kind))
            // `config init` makes a conflict of this one.
            .or_else(|| {
                let usage = before.ends_with("Problem::new(") && literal != "config.context_exists";
                usage.then_some(2)
            })
            .or_else(|| {
                (before.ends_with("finding(Severity::Error,")
                    || before.ends_with("finding(Severity::Warning,"))
                .then_some(3)
            });
        // `Failure::new(kind, "…")`: the place does not tell which kind.
        let failure = ["Failure::new(", "Self::new("].iter().any(|form| {
            before.rsplit_once(form).is_some_and(|(_, kind)| {
                kind.strip_suffix(',')
                    .is_some_and(|kind| kind.chars().all(|c| c.is_alphanumeric() || c == ':'))
            })
        });
        let undotted = ["usage", "internal"].contains(&literal) && exit.is_some();
        if !undotted && (!is_code(literal) || is_other(literal)) {
            continue;
        }
        let http = exit.is_none().then(|| http_of(&before)).flatten();
        let noun = literal.split('.').next().unwrap_or_default();
        let problem = before.ends_with("Problem::new(");
        if exit.is_none() && http.is_none() && !failure && !problem && !nouns.contains(noun) {
            continue;
        }
        let raised = found.entry(literal.to_owned()).or_default();
        raised.places.push(path.to_owned());
        raised.exit.extend(exit.or(http.map(exit_after)));
        raised.http.extend(http);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every code of the sources.
fn raised() -> BTreeMap<String, Raised> {
    let nouns: BTreeSet<&str> = explain::codes()
        .filter_map(|code| code.split_once('.'))
        .map(|(noun, _)| noun)
        .collect();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut found = BTreeMap::new();
    for file in files {
        // Tests in a file of their own, and the list of pages itself.
        // Names of actions in the audit log look the same.
        if file.ends_with("tests.rs")
            || file.ends_with("explain/pages.rs")
            || file.ends_with("audit/actions.rs")
        {
            continue;
        }
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        collect(&name, &text, &nouns, &mut found);
    }
    assert!(found.len() > 50, "few codes were found: {}", found.len());
    found
}

/// Every page by its code, as the program has them.
fn pages() -> BTreeMap<String, String> {
    let folder = root().join("src/cli/explain");
    explain::codes()
        .map(|code| {
            let path = folder.join(format!("{code}.md"));
            (code.to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_code_has_a_page() {
    let pages = pages();
    let missing: Vec<String> = raised()
        .iter()
        .filter(|(code, _)| !pages.contains_key(*code))
        .map(|(code, raised)| format!("{code} ({})", raised.places.join(", ")))
        .collect();
    assert!(
        missing.is_empty(),
        "write src/cli/explain/CODE.md and list it in pages.rs:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_file_is_listed_and_the_list_is_sorted() {
    let listed: Vec<&str> = explain::codes().collect();
    assert!(listed.is_sorted(), "{listed:?}");
    let mut files: Vec<String> = std::fs::read_dir(root().join("src/cli/explain"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".md").map(str::to_owned)
        })
        .collect();
    files.sort();
    assert_eq!(files, listed);
}

/// Returns the numbers of the line that begins with `label`.
fn numbers(page: &str, label: &str) -> BTreeSet<u16> {
    let from = page.find(label).map_or("", |at| &page[at..]);
    // The entry ends where the next one, or the next section, begins.
    let end = from[1.min(from.len())..]
        .find("\n- ")
        .or_else(|| from.find("\n\n"))
        .map_or(from.len(), |end| end + 1);
    let until_section = from.find("\n\n").unwrap_or(from.len());
    from[..end.min(until_section)]
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn pages_name_the_statuses_that_their_codes_end_with() {
    let pages = pages();
    let mut wrong = Vec::new();
    for (code, raised) in raised() {
        let Some(page) = pages.get(&code) else {
            continue;
        };
        for (label, expected) in [
            ("- Exit status:", raised.exit),
            ("- HTTP status:", raised.http),
        ] {
            let named = numbers(page, label);
            // The server answers `internal` too, which lerianctl does not pass on.
            if !expected.is_subset(&named) && code != "internal" {
                wrong.push(format!(
                    "{code}: `{label}` names {named:?}, and the code ends with {expected:?} ({})",
                    raised.places.join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Says what is wrong with the form of a page.
fn form(code: &str, page: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{code}: {what}"));
        }
    };
    expect(
        page.starts_with(&format!("# {code}\n\n")),
        "must begin with its code as the title",
    );
    let mut sections = page.match_indices("\n## ").map(|(at, _)| {
        let rest = &page[at + 4..];
        rest.lines().next().unwrap_or_default()
    });
    expect(
        sections.next() == Some("Why")
            && sections.next() == Some("What to do")
            && sections.next() == Some("What was changed")
            && sections.next().is_none(),
        "must have the sections Why, What to do, What was changed",
    );
    expect(
        page.contains("\n- Exit status: "),
        "must name its exit status",
    );
    expect(
        page.lines().count() <= 45,
        "is too long to be read in a hurry",
    );
    expect(
        page.ends_with('\n') && !page.ends_with("\n\n"),
        "must end with one line feed",
    );
    expect(
        page.lines().all(|line| {
            line == line.trim_end() && (line.starts_with("    ") || line.chars().count() <= 100)
        }),
        "has a line with trailing blanks, or longer than 100 characters",
    );
    wrong
}

#[test]
fn pages_have_one_form() {
    let wrong: Vec<String> = pages()
        .iter()
        .flat_map(|(code, page)| form(code, page))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Returns the calls of lerianctl in a line, without what belongs to the shell.
fn calls(line: &str) -> Vec<Vec<String>> {
    let Some(line) = line.strip_prefix("    ") else {
        return Vec::new();
    };
    line.split(" | ")
        .filter_map(|part| {
            let words = shlex::split(part)?;
            let start = words.iter().position(|word| word == "lerianctl")?;
            let end = words.iter().position(|word| word == "<" || word == ">");
            Some(words[start..end.unwrap_or(words.len())].to_vec())
        })
        .collect()
}

/// Says why the command line refuses a call; asking for help is fine.
fn refused(call: &[String]) -> Option<String> {
    use clap::error::ErrorKind::DisplayHelp;
    let error = command().try_get_matches_from(call).err()?;
    (error.kind() != DisplayHelp).then(|| error.to_string())
}

#[test]
fn every_command_on_a_page_is_one() {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (code, page) in pages() {
        for call in page.lines().flat_map(calls) {
            tried += 1;
            if let Some(error) = refused(&call) {
                wrong.push(format!("{code}: {}\n{error}", call.join(" ")));
            }
        }
    }
    assert!(tried > 200, "few commands were found: {tried}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pages_are_found_by_code_and_by_beginning() {
    let room = Sandbox::new();
    let page = room.run(["explain", "error[tenant.conflict]"]).success();
    assert!(page.stdout.starts_with("# tenant.conflict\n"), "{page}");
    assert!(page.stdout.contains("\n## What to do\n"), "{page}");
    let all = room.run(["explain", "-o", "name"]).success();
    assert_eq!(
        all.stdout.lines().collect::<Vec<_>>(),
        explain::codes().collect::<Vec<_>>()
    );
    let some = room.run(["explain", "consent"]).success();
    assert!(some.stdout.contains("consent.needed "), "{some}");
    assert!(!some.stdout.contains("tenant.conflict"), "{some}");
    let none = room.run(["explain", "consen"]).exits(5);
    assert!(none.stderr.contains("did you mean `consent."), "{none}");
    let none = room.run(["explain", ".", "-o", "json"]).success().json();
    assert!(none["items"][0]["summary"].is_string());
}

#[test]
fn bad_samples_are_found() {
    let nouns = BTreeSet::from(["tenant"]);
    let mut found = BTreeMap::new();
    let text = "
        Failure::new(
            Kind::Conflict,
            \"stack.foreign\", \"x\");
        Problem::new(\"config.odd\", \"\");
        finding(Severity::Warning, \"config.odd\", \"\");
        // \"tenant.commented\"
        Failure::new(kind, \"stack.any\", \"\");
        ApiError::not_found(\"thing.gone\", \"\");
        ApiError::new(StatusCode::UNAUTHORIZED, \"auth.odd\", \"\");
        let (code, other) = (\"tenant.helper\", \"something.else\");
        let event = \"tenant.created\"; let key = \"cache.ttl\";
        Failure::new(Kind::Internal, \"internal\", \"\"); let word = \"usage\";
        #[cfg(test)]
        mod tests { fn f() { Problem::new(\"config.tried\", \"\"); } }
    ";
    collect("a.rs", text, &nouns, &mut found);
    let seen: Vec<(&str, Vec<u16>, Vec<u16>)> = found
        .iter()
        .map(|(code, raised)| {
            let list = |set: &BTreeSet<u16>| set.iter().copied().collect::<Vec<_>>();
            (code.as_str(), list(&raised.exit), list(&raised.http))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("auth.odd", vec![4], vec![401]),
            ("config.odd", vec![2, 3], vec![]),
            ("internal", vec![1], vec![]),
            ("stack.any", vec![], vec![]),
            ("stack.foreign", vec![6], vec![]),
            ("tenant.helper", vec![], vec![]),
            ("thing.gone", vec![5], vec![404]),
        ]
    );
    assert_eq!(
        form("a.b", "# a.c\n\nText \n\n## Why\n").len(),
        4,
        "{:?}",
        form("a.b", "# a.c\n\nText \n\n## Why\n")
    );
    let page = "- Exit status: 4 (auth), or\n  6 (conflict)\n- HTTP status: 403\n\n## Why 9\n";
    assert_eq!(numbers(page, "- Exit status:"), BTreeSet::from([4, 6]));
    assert_eq!(numbers(page, "- HTTP status:"), BTreeSet::from([403]));
    let call = calls("    A=b lerianctl tenant list --nonsense < x");
    assert!(refused(&call[0]).is_some());
    assert!(refused(&calls("    lerianctl tenant list --help")[0]).is_none());
}
