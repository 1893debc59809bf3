//! The README says what is so.

use lerianctl::cli::generate::reference;

const README: &str = include_str!("../README.md");

/// Returns what stands between the markers of `name`.
fn between(readme: &str, name: &str) -> String {
    let begin = format!("<!-- {name}: written by make generate -->\n");
    let end = format!("<!-- {name}: end -->");
    let (_, rest) = readme
        .split_once(&begin)
        .expect("the README has the first marker");
    let (inside, _) = rest
        .split_once(&end)
        .expect("the README has the last marker");
    inside.to_owned()
}

#[test]
fn variables_and_exit_statuses_are_those_of_the_program() {
    let written = between(README, "reference");
    assert!(
        written == reference::markdown(),
        "run `make generate` and commit what it writes"
    );
}

#[test]
fn the_session_was_made() {
    let session = between(README, "session");
    assert!(session.contains("$ lerianctl tenant create"), "{session}");
    assert!(!session.contains('\u{1b}'), "colours were left in");
}

#[test]
fn every_linked_file_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<&str> = README
        .match_indices("](")
        .filter_map(|(at, _)| README[at + 2..].split_once(')'))
        .map(|(target, _)| target)
        .filter(|target| !target.contains("://"))
        .collect();
    assert!(links.len() > 5);
    for link in links {
        assert!(
            root.join(link).exists(),
            "{link} is linked and does not exist"
        );
    }
}
