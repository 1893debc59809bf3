//! What every command has in common: streams, formats, statuses, colours, widths.

use std::io::Read as _;
use std::process::Stdio;

use crate::support::Sandbox;

#[test]
fn version_is_one_line_and_also_a_document() {
    let room = Sandbox::new();
    let output = room.run(["--version"]).success();
    assert_eq!(
        output.stdout,
        format!("lerianctl {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(output.stderr, "");
    let document = room.run(["version", "-o", "json"]).success().json();
    assert_eq!(document["apiVersion"], "lerianctl/v1");
    assert_eq!(document["kind"], "Version");
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        room.run(["version", "-o", "name"]).success().stdout,
        format!("{}\n", env!("CARGO_PKG_VERSION"))
    );
    let yaml = room.run(["version", "-o", "yaml"]).success().stdout;
    assert!(yaml.contains("kind: Version\n"), "{yaml}");
    let lines = room.run(["version", "-o", "jsonl"]).success().json_lines();
    assert_eq!(lines.last().unwrap()["kind"], "Summary");
}

#[test]
fn help_is_a_result_and_a_missing_command_is_not() {
    let room = Sandbox::new();
    let help = room.run(["--help"]).success();
    assert!(help.stdout.contains("Usage: lerianctl"));
    assert_eq!(help.stderr, "");
    let missing = room.run([""; 0]).exits(2);
    assert_eq!(missing.stdout, "");
    assert!(missing.stderr.contains("Usage: lerianctl"));
    let topic = room.run(["help", "exit-status"]).success();
    assert!(topic.stdout.contains("  10  refused"), "{topic}");
    let nested = room.run(["help", "tenant", "purge"]).success();
    assert!(nested.stdout.contains("--confirm"), "{nested}");
    let unknown = room.run(["help", "nonsense"]).exits(2);
    assert!(unknown.stderr.contains("nonsense"));
}

#[test]
fn a_wrong_call_is_refused_with_a_suggestion_and_a_document() {
    let room = Sandbox::new();
    let output = room.run(["tenant", "lst"]).exits(2);
    assert!(output.stderr.contains("list"), "{output}");
    assert_eq!(output.stdout, "");
    let output = room.run(["tenant", "lst", "-o", "json"]).exits(2);
    let document = output.json();
    assert_eq!(document["kind"], "Error");
    assert_eq!(document["error"]["exitStatus"], 2);
    assert!(!output.stderr.is_empty());
}

#[test]
fn a_failure_says_what_why_and_what_next_in_both_forms() {
    let room = Sandbox::new();
    let output = room.run(["tenant", "list"]).exits(2);
    assert_eq!(output.stdout, "");
    assert!(
        output.stderr.starts_with("error[config.no_server]: "),
        "{output}"
    );
    assert!(output.stderr.contains("hint: "), "{output}");
    let output = room.run(["tenant", "list", "-o", "json"]).exits(2);
    let document = output.json();
    assert_eq!(document["error"]["code"], "config.no_server");
    assert_eq!(document["error"]["retryable"], false);
    assert!(document["error"]["hints"][0]["command"].is_string());
    assert!(output.stderr.starts_with("error[config.no_server]: "));
}

#[test]
fn malformed_variables_are_named() {
    let room = Sandbox::new().with("LERIANCTL_OUTPUT", "xml");
    let output = room.run(["version"]).exits(2);
    assert!(output.stderr.contains("LERIANCTL_OUTPUT"), "{output}");
    let room = Sandbox::new().with("LERIANCTL_TIMEOUT", "soon");
    let output = room.run(["version"]).exits(2);
    assert!(output.stderr.contains("LERIANCTL_TIMEOUT"), "{output}");
    let room = Sandbox::new().with("LERIANCTL_LOG", "[[[");
    let output = room.run(["version"]).exits(2);
    assert!(output.stderr.contains("LERIANCTL_LOG"), "{output}");
}

#[test]
fn colours_follow_flag_then_variable_then_terminal() {
    let coloured = |room: &Sandbox, flags: &[&str]| {
        let mut arguments = vec!["tenant", "list"];
        arguments.extend(flags);
        let output = room.run(arguments).exits(2);
        output.stderr.contains('\x1b')
    };
    let room = Sandbox::new();
    assert!(!coloured(&room, &[]));
    assert!(coloured(&room, &["--color", "always"]));
    let forced = Sandbox::new().with("CLICOLOR_FORCE", "1");
    assert!(coloured(&forced, &[]));
    assert!(!coloured(&forced, &["--color", "never"]));
    let both = Sandbox::new()
        .with("CLICOLOR_FORCE", "1")
        .with("NO_COLOR", "1");
    assert!(!coloured(&both, &[]));
}

#[test]
fn a_closed_reader_does_not_change_the_status() {
    let room = Sandbox::new();
    let mut child = room
        .command(["docs"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be run");
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    let mut some = [0_u8; 16];
    stdout.read_exact(&mut some).expect("it writes");
    drop(stdout);
    let output = child.wait_with_output().expect("the binary ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn nothing_needs_a_home_or_a_terminal() {
    let room = Sandbox::new()
        .with("HOME", "/nonexistent")
        .with("TERM", "dumb");
    room.run(["version"]).success();
    room.run(["explain"]).success();
    let output = room.run(["tenant", "list"]).exits(2);
    assert!(output.stderr.contains("config.no_server"), "{output}");
}

#[test]
fn hostile_arguments_are_refused_not_run() {
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", "http://127.0.0.1:9")
        .with("LERIANCTL_API_KEY", "a-key-that-nobody-knows");
    let long = "x".repeat(10_000);
    for name in [
        "../../etc/passwd",
        "'; DROP TABLE tenants; --",
        "$(touch pwned)",
        "a\u{202e}b",
        "\u{1b}[31mred",
        "",
        long.as_str(),
        "😀",
    ] {
        let output = room.run(["tenant", "show", name]).exits(2);
        assert!(!output.stderr.contains('\u{1b}'), "{output}");
        assert!(output.stderr.len() < 2_000, "{}", output.stderr.len());
    }
    assert!(!room.home().join("pwned").exists());
}

#[test]
fn what_needs_consent_is_refused_without_a_terminal() {
    // Refused before anything is sent: there is no server at all behind this port.
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", "http://127.0.0.1:9")
        .with("LERIANCTL_API_KEY", "a-key-that-nobody-knows");
    let output = room
        .run(["tenant", "purge", "acme", "--timeout", "20s"])
        .exits(7);
    assert!(output.stderr.contains("127.0.0.1:9"), "{output}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let room = Sandbox::new();
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnRJZCI6ImFjbWUifQ.c2lnbmF0dXJl";
    let key = lerianctl::secret::Secret::generate();
    let key = format!("aB3{}", key.expose());
    let url = "postgres://ada:hunter2@db.example/x";
    for (arguments, secret) in [
        (vec!["--timeout", token, "tenant", "list"], token),
        (vec!["tenant", "list", "--limit", token], token),
        (vec!["tenant", "list", "--limit", &key], &key),
        (vec!["tenant", "lst", &key], &key),
        (vec!["dev", "up", url], "hunter2"),
        (vec!["tenant", "list", "-o", url], "hunter2"),
        (vec!["explain", token], token),
        (
            vec!["tenant", "show", token, "--server", "http://127.0.0.1:9"],
            token,
        ),
    ] {
        for format in ["table", "json"] {
            let mut arguments = arguments.clone();
            if !arguments.contains(&"-o") {
                arguments.extend(["-o", format]);
            }
            let output = room.run(&arguments);
            assert_ne!(output.status, Some(0), "{arguments:?}\n{output}");
            let all = format!("{}{}", output.stdout, output.stderr);
            assert!(!all.contains(secret), "{arguments:?}\n{output}");
            assert!(!all.contains(&secret[..secret.len().min(30)]), "{output}");
        }
    }
    // Short and without a shape: known by where they stand alone.
    for arguments in [
        &["tenant", "list", "--limit", "hunter2"][..],
        &["tenant", "list", "--timeout=hunter2"],
        &["tenant", "list", "-o", "hunter2"],
        &["tenant", "list", "--yes=hunter2"],
        &["tenant", "show", "acme", "hunter2"],
        &["tenant", "hunter2"],
        &["hunter2"],
    ] {
        let output = room.run(arguments.iter().copied()).exits(2);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(!all.contains("hunter2"), "{arguments:?}\n{output}");
    }
    let help = room.run(["tenant", "list", "--limit", &key]).exits(2);
    assert!(help.stderr.contains("'[redacted]' for '--limit"), "{help}");
}
