//! `config explain`: every value knows where it comes from, and secrets stay where they are.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::{Output, Sandbox};

const FILE: &str = r#"version = 1
current-context = "staging"

[context.staging]
server = "https://tm.staging.example"
api-key = { file = "~/key" }
redis = { host = "redis.staging.example", port = 6380, password = "inline-hunter2" }

[context.production]
server = "https://tm.example"
api-key = { env = "PRODUCTION_KEY" }
protected = true
"#;

fn room() -> Sandbox {
    let room = Sandbox::new();
    private(&room, ".config/lerianctl/config.toml", FILE);
    room
}

/// Writes a file that only its owner can read.
fn private(room: &Sandbox, path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = room.write(path, text);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn entry(room: &Sandbox, key: &str, flags: &[&str]) -> Value {
    let call = [&["config", "explain", key, "-o", "json"], flags].concat();
    room.run(call).success().json()["items"][0].clone()
}

#[test]
fn each_layer_wins_over_the_next_and_says_so() {
    let mut room = room();
    let origin = |room: &Sandbox, flags: &[&str]| {
        let entry = entry(room, "server", flags);
        (entry["value"].clone(), entry["origin"]["kind"].clone())
    };
    assert_eq!(
        origin(&room, &[]),
        ("https://tm.staging.example".into(), "context".into())
    );
    room.write(
        "pod.env",
        "# pod\nMULTI_TENANT_URL='https://file.example'\n",
    );
    let file = ["--env-file", "pod.env"];
    assert_eq!(
        origin(&room, &file),
        ("https://file.example".into(), "envFile".into())
    );
    room.set("MULTI_TENANT_URL", "https://pod.example");
    assert_eq!(
        origin(&room, &file),
        ("https://pod.example".into(), "variable".into())
    );
    room.set("LERIANCTL_CONTEXT", "production");
    assert_eq!(
        origin(&room, &file),
        ("https://tm.example".into(), "context".into())
    );
    room.set("LERIANCTL_SERVER", "https://own.example");
    assert_eq!(
        origin(&room, &file),
        ("https://own.example".into(), "variable".into())
    );
    let entry = entry(
        &room,
        "server",
        &["--env-file", "pod.env", "--server", "https://flag.example"],
    );
    assert_eq!(entry["origin"]["name"], "--server");
    let lost: Vec<_> = entry["overridden"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lost| &lost["value"])
        .collect();
    assert_eq!(
        lost,
        [
            "https://own.example",
            "https://tm.example",
            "https://pod.example",
            "https://file.example",
        ]
    );
    let in_file = &entry["overridden"][3]["origin"];
    assert_eq!(
        (&in_file["line"], &in_file["variable"]),
        (&2.into(), &"MULTI_TENANT_URL".into())
    );
}

#[test]
fn flags_and_conventions_are_settings_like_any_other() {
    let room = room()
        .with("NO_COLOR", "1")
        .with("CI", "true")
        .with("LERIANCTL_TIMEOUT", "90s");
    assert_eq!(entry(&room, "color", &[])["origin"]["name"], "NO_COLOR");
    assert_eq!(
        entry(&room, "color", &["--color", "always"])["value"],
        "always"
    );
    assert_eq!(entry(&room, "no-input", &[])["origin"]["name"], "CI");
    assert_eq!(entry(&room, "timeout", &[])["value"], "90s");
    let timeout = entry(&room, "timeout", &["--timeout", "5m"]);
    assert_eq!(
        (&timeout["value"], &timeout["origin"]["name"]),
        (&"5m".into(), &"--timeout".into())
    );
    assert_eq!(entry(&room, "output", &[])["origin"]["name"], "--output");
    assert_eq!(entry(&room, "context", &[])["origin"]["line"], 2);
    let path = entry(&room, "config", &[]);
    assert!(
        path["value"]
            .as_str()
            .unwrap()
            .ends_with(".config/lerianctl/config.toml")
    );
}

#[test]
fn no_form_of_output_shows_a_secret() {
    let mut room = room()
        .with("LERIANCTL_API_KEY", "hunter2-own")
        .with("MULTI_TENANT_SERVICE_API_KEY", "hunter2-pod")
        .with("MULTI_TENANT_REDIS_PASSWORD", "hunter2-redis")
        .with("MULTI_TENANT_URL", "https://user:hunter2-url@tm.example");
    room.write("pod.env", "MULTI_TENANT_SERVICE_API_KEY=hunter2-file\n");
    room.write("key", "hunter2-key\n");
    room.set("PRODUCTION_KEY", "hunter2-production");
    let mut said = String::new();
    for format in ["table", "json", "jsonl", "yaml", "csv", "name"] {
        for call in [
            &["config", "explain"][..],
            &["config", "explain", "api-key"],
            &["config", "explain", "server"],
            &["config", "list"],
            &["config", "validate"],
            &["config", "explain", "-vv"],
        ] {
            let output = room.run([call, &["-o", format, "--env-file", "pod.env"]].concat());
            assert_ne!(output.status, None);
            write!(said, "{output}").unwrap();
        }
    }
    assert!(!said.contains("hunter2"), "{said}");
    assert!(said.contains("[redacted]"));
}

#[test]
fn a_stray_variable_neither_redirects_a_change_nor_receives_the_key() {
    let room = room().with("MULTI_TENANT_URL", "https://stray.invalid");
    let report = room
        .run(["config", "explain", "--context", "production", "-o", "json"])
        .success()
        .json();
    assert_eq!(
        report["writeConflict"]["otherServer"],
        "https://stray.invalid"
    );
    let refused = room
        .run([
            "tenant",
            "suspend",
            "acme",
            "--yes",
            "--context",
            "production",
        ])
        .exits(2);
    assert!(
        refused.stderr.contains("https://stray.invalid"),
        "{refused}"
    );
    assert!(refused.stderr.contains("https://tm.example"), "{refused}");

    // Not named for this call, the context loses, and keeps its key to itself.
    let key = entry(&room, "api-key", &[]);
    assert!(key.get("value").is_none(), "{key}");
    let list = room.run(["tenant", "list"]).exits(4);
    assert!(
        list.stderr.contains("is not sent to https://stray.invalid"),
        "{list}"
    );
}

#[test]
fn what_cannot_be_resolved_is_a_usage_error_with_the_place() {
    let mut room = room();
    let unknown = room
        .run(["config", "explain", "--context", "prodction"])
        .exits(2);
    assert!(
        unknown.stderr.contains("did you mean `production`?"),
        "{unknown}"
    );
    let unknown = room.run(["config", "explain", "sever"]).exits(5);
    assert!(
        unknown.stderr.contains("did you mean `server`?"),
        "{unknown}"
    );
    room.write("bad.env", "\n\nthis-is-hunter2\n");
    let bad = room
        .run(["config", "explain", "--env-file", "bad.env"])
        .exits(2);
    assert!(bad.stderr.contains("line 3"), "{bad}");
    assert!(!bad.stderr.contains("hunter2"), "{bad}");
    room.set("LERIANCTL_CONFIG", "/nonexistent/config.toml");
    let missing = room.run(["config", "explain"]).exits(2);
    assert!(missing.stderr.contains("LERIANCTL_CONFIG"), "{missing}");
}

#[test]
fn commands_that_need_no_configuration_do_not_stumble_over_it() {
    let room = Sandbox::new();
    private(&room, ".config/lerianctl/config.toml", "rubbish [[[");
    let _: Output = room.run(["--version"]).success();
    let _: Output = room.run(["version"]).success();
    let _: Output = room.run(["help", "environment"]).success();
    let broken = room.run(["config", "explain"]).exits(2);
    assert!(
        broken.stderr.starts_with("error[config.syntax]"),
        "{broken}"
    );
}
