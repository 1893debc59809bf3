//! `config init`, `config use` and `config list`: the file is made, changed and read with care.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;

use crate::support::{Output, Sandbox};

const PATH: &str = ".config/lerianctl/config.toml";

fn init(room: &Sandbox, arguments: &[&str]) -> Output {
    room.run([&["config", "init"], arguments].concat())
}

fn names(room: &Sandbox) -> Vec<(String, bool)> {
    let list = room.run(["config", "list", "-o", "json"]).success().json();
    let items = list["items"].as_array().unwrap().clone();
    items
        .iter()
        .map(|item: &Value| {
            let name = item["name"].as_str().unwrap().to_owned();
            (name, item["current"].as_bool().unwrap())
        })
        .collect()
}

#[test]
fn a_new_file_is_private_and_names_places_instead_of_secrets() {
    let room = Sandbox::new();
    assert_eq!(names(&room), []);
    let made = init(
        &room,
        &[
            "staging",
            "--server",
            "https://tm.example/",
            "--api-key-file",
            "keys/tm",
            "--redis",
            "redis:6380",
            "-o",
            "json",
        ],
    )
    .success()
    .json();
    assert_eq!(
        (&made["changed"], &made["current"]),
        (&true.into(), &true.into())
    );
    let key = std::fs::canonicalize(room.home()).unwrap().join("keys/tm");
    let text = room.read(PATH);
    assert!(text.contains("server = \"https://tm.example\"\n"), "{text}");
    assert!(
        text.contains(&format!("{{ file = \"{}\" }}", key.display())),
        "{text}"
    );
    let mode_of = |path: &str| {
        std::fs::metadata(room.home().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode_of(PATH), mode_of(".config/lerianctl")),
        (0o600, 0o700)
    );
    assert_eq!(names(&room), [("staging".to_owned(), true)]);
    let _: Output = room.run(["config", "validate"]).exits(3); // the key file is missing
}

#[test]
fn the_same_twice_changes_nothing_and_another_is_a_conflict() {
    let room = Sandbox::new();
    let same = ["a", "--server", "https://a.example", "--api-key-env", "KEY"];
    let _: Output = init(&room, &same).success();
    let before = room.read(PATH);
    let again = init(&room, &[&same[..], &["-o", "json"]].concat())
        .success()
        .json();
    assert_eq!(again["changed"], false);
    let other = ["a", "--server", "https://b.example"];
    let conflict = init(&room, &other).exits(6);
    assert!(conflict.stderr.contains("--force"), "{conflict}");
    assert_eq!(room.read(PATH), before);
    let _: Output = init(&room, &[&other[..], &["--force"]].concat()).success();
    assert!(room.read(PATH).contains("https://b.example"));
    assert!(!room.read(PATH).contains("KEY"));
}

#[test]
fn comments_and_layout_survive_every_edit() {
    let room = Sandbox::new();
    let text = "# ours\nversion = 1\ncurrent-context = \"a\" # for now\n\n[context.a] # the first\nserver  =  \"https://a.example\"\n[context.b]\nserver = \"https://b.example\"\n";
    room.write(PATH, text);
    let _: Output = room.run(["config", "use", "b"]).success();
    assert_eq!(room.read(PATH), text.replace("\"a\" # for", "\"b\" # for"));
    assert_eq!(
        room.run(["config", "use", "b", "-o", "json"])
            .success()
            .json()["changed"],
        false
    );
    let _: Output = init(&room, &["c", "--server", "https://c.example"]).success();
    assert!(
        room.read(PATH)
            .starts_with(&text.replace("\"a\" # for", "\"b\" # for"))
    );
    assert_eq!(
        names(&room),
        [
            ("a".to_owned(), false),
            ("b".to_owned(), true),
            ("c".to_owned(), false)
        ]
    );
    let room = room.with("LERIANCTL_CONTEXT", "a");
    assert!(names(&room).contains(&("a".to_owned(), true)));
    let warned = room.run(["config", "use", "c"]).success();
    assert!(warned.stderr.contains("LERIANCTL_CONTEXT"), "{warned}");
}

#[test]
fn what_makes_no_sense_is_refused_and_writes_nothing() {
    let room = Sandbox::new();
    for arguments in [
        &["a"][..],
        &["a", "--server", "tm.example"],
        &["a", "--server", "ftp://tm.example"],
        &["a", "--server", "https://user:hunter2@tm.example"],
        &["a", "--server", "http://tm.example"],
        &["a b", "--server", "https://tm.example"],
        &["a]\nx=1", "--server", "https://tm.example"],
        &["", "--server", "https://tm.example"],
        &["a", "--server", "https://tm.example", "--api-key-file", "-"],
        &[
            "a",
            "--server",
            "https://tm.example",
            "--api-key-command",
            "'open",
        ],
        &[
            "a",
            "--server",
            "https://tm.example",
            "--api-key-env",
            "A=B",
        ],
        &[
            "a",
            "--server",
            "https://tm.example",
            "--api-key-env",
            "K",
            "--api-key-file",
            "k",
        ],
        &[
            "a",
            "--server",
            "https://tm.example",
            "--redis",
            "redis://x",
        ],
    ] {
        let output = init(&room, arguments).exits(2);
        assert!(!output.stderr.contains("hunter2"), "{output}");
        assert!(!room.home().join(PATH).exists(), "{arguments:?}");
    }
    let _: Output = init(
        &room,
        &[
            "a",
            "--server",
            "http://tm.example",
            "--allow-insecure-http",
        ],
    )
    .success();
    let _: Output = init(&room, &["b", "--server", "http://localhost:4003"]).success();
    let missing = room.run(["config", "use", "nobody"]).exits(5);
    assert!(missing.stderr.contains("config list"), "{missing}");
}

#[test]
fn a_file_that_is_not_understood_is_never_rewritten() {
    for text in ["rubbish [[[", "version = 2\n", "context = 5\nversion = 1\n"] {
        let room = Sandbox::new();
        room.write(PATH, text);
        let _: Output = init(&room, &["a", "--server", "https://a.example"]).exits(2);
        let output = room.run(["config", "use", "a"]);
        assert_ne!(output.status, Some(0), "{output}");
        assert_eq!(room.read(PATH), text);
    }
}

#[test]
fn a_linked_file_stays_a_link() {
    let room = Sandbox::new();
    let real = room.write(
        "dotfiles/lerianctl.toml",
        "version = 1\n[context.a]\n[context.b]\n",
    );
    room.write(".config/lerianctl/x", "");
    symlink(&real, room.home().join(PATH)).unwrap();
    let _: Output = room.run(["config", "use", "b"]).success();
    assert!(
        room.home()
            .join(PATH)
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
    assert!(
        room.read("dotfiles/lerianctl.toml")
            .contains("current-context = \"b\"")
    );
}

#[test]
fn edits_at_once_lose_nothing() {
    let room = Sandbox::new();
    let children: Vec<_> = (0..12)
        .map(|number| {
            let name = format!("c{number}");
            room.command(["config", "init", &name, "--server", "https://x.example"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(names(&room).len(), 12);
    let left = std::fs::read_dir(room.home().join(".config/lerianctl"))
        .unwrap()
        .count();
    assert_eq!(left, 1, "no temporary file stays behind");
}

#[test]
fn a_list_shows_what_is_wrong_with_one_and_keeps_the_others() {
    let room = Sandbox::new();
    room.write(PATH, "version = 1\ncurrent-context = \"gone\"\n[context.a]\nserver = 5\n[context.b]\nserver = \"https://b\\u001b[31m.example\"\n");
    let list = room.run(["config", "list", "-o", "json"]).success().json();
    assert!(
        list["items"][0]["problems"][0]
            .as_str()
            .unwrap()
            .contains("line 4")
    );
    assert_eq!(list["items"][1]["problems"].as_array().unwrap().len(), 0);
    let table = room.run(["config", "list"]).success();
    assert!(!table.stdout.contains('\u{1b}'), "{table}");
}
