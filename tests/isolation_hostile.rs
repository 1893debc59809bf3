//! `isolation …` and `env …` where not everything is as it should be: a reader that leaves, a
//! narrow terminal, no home, files that are no reports, no environments, or were edited.

use std::process::{Command, Stdio};

use lerianctl::isolation::attest::{self, SigningKey};
use lerianctl::isolation::inventory::Inventory;
use lerianctl::isolation::run::{Settings, run};
use lerianctl::secret::Secret;
use serde_json::{Value, json};

use super::isolation_command::{CHECK, room as room_of};
use super::isolation_fleet::Fleet;
use super::server_isolation::{PRIVATE, PUBLIC};
use super::support::{Output, Sandbox};

/// A report of a run that looked at nothing, in the form of `-o json`.
fn report() -> Value {
    let outcome = super::support::block_on(async {
        let mut settings = Settings::new(jiff::Timestamp::now());
        settings.only = vec!["PG-001".into()];
        // The progress that it tells of is not for other threads.
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(run(&Inventory::default(), &settings, &|_, _, _| ()))
        })
        .await
        .unwrap()
    });
    let mut report = json!({ "apiVersion": "lerianctl/v1", "kind": "IsolationReport", "passed": false, "failOn": "low" });
    let outcome = serde_json::to_value(outcome).unwrap();
    let keys = report.as_object_mut().unwrap();
    keys.extend(outcome.as_object().unwrap().clone());
    report
}

const ENVIRONMENT: &str = "APPLICATION_NAME=ledger\nENV_NAME=production\nMULTI_TENANT_ENABLED=true\n\
    MULTI_TENANT_URL=https://tm.example\nMULTI_TENANT_SERVICE_API_KEY=hunter2\nPLUGIN_AUTH_ENABLED=true\n";

const VERIFY: &[&str] = &[
    "isolation",
    "verify-report",
    "r.json",
    "--key-file",
    "key.pub",
];

/// Everything that can be said without a server, with its status.
const CALLS: &[(&[&str], i32)] = &[
    (&["isolation", "list"], 0),
    (&["isolation", "list", "-o", "json"], 0),
    (&["isolation", "explain", "PG-002"], 0),
    (&["isolation", "explain", "PG-002", "--query"], 0),
    (&["isolation", "show", "r.json"], 3),
    (&["isolation", "show", "r.json", "-o", "json"], 3),
    (&["isolation", "diff", "r.json", "r.json"], 0),
    (VERIFY, 0),
    (
        &[
            "isolation",
            "verify-report",
            "r.json",
            "--key-file",
            "key.pub",
            "-o",
            "json",
        ],
        0,
    ),
    // Another file than the one that was signed.
    (
        &[
            "isolation",
            "verify-report",
            "ledger.env",
            "--attestation",
            "r.json.intoto.json",
            "--key-file",
            "key.pub",
        ],
        3,
    ),
    (&["env", "check", "ledger.env", "--all"], 3),
    (&["env", "check", "ledger.env", "-o", "json"], 3),
    (
        &[
            "env",
            "render",
            "--product",
            "ledger",
            "--server",
            "https://tm.example",
        ],
        0,
    ),
    (&["env", "explain"], 0),
    (&["env", "explain", "MULTI_TENANT_CACHE_TTL_SEC"], 0),
];

fn room() -> Sandbox {
    let room = Sandbox::new();
    let report = report();
    let text = report.to_string();
    let key = SigningKey::from_pem(&Secret::new(PRIVATE)).unwrap();
    let outcome = serde_json::from_value(report).unwrap();
    let now = jiff::Timestamp::now();
    let envelope = attest::sign(&key, "r.json", text.as_bytes(), &outcome, now);
    room.write("r.json", text);
    room.write(
        "r.json.intoto.json",
        serde_json::to_string(&envelope).unwrap(),
    );
    room.write("key.pub", PUBLIC);
    room.write("ledger.env", ENVIRONMENT);
    room
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Runs a call whose reader leaves after `taken`, as `head` takes it.
fn left_by_its_reader(room: &Sandbox, call: &[&str], status: i32, taken: &str) {
    let words: Vec<&str> = [&[env!("CARGO_BIN_EXE_lerianctl")], call].concat();
    let line = shlex::try_join(words).unwrap();
    let script = format!("{line} | head {taken} >/dev/null; echo ${{PIPESTATUS[0]}}");
    let mut shell = Command::new("/bin/bash");
    let output = shell
        .args(["-c", &script])
        .current_dir(room.home())
        .env_clear()
        .env("HOME", room.home())
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout).trim(),
        status.to_string(),
        "{line}: {output:?}"
    );
    let said = text(&output.stderr);
    for word in ["panicked", "Broken pipe", "os error 32"] {
        assert!(!said.contains(word), "{line}: {said}");
    }
}

#[test]
fn a_reader_that_leaves_changes_nothing() {
    let room = room();
    for (call, status) in CALLS {
        let whole = room.run(call.iter()).exits(*status);
        assert!(!whole.stdout.contains("hunter2"), "{whole}");
        left_by_its_reader(&room, call, *status, "-c 1");
    }
    left_by_its_reader(&room, VERIFY, 0, "-1");
}

/// Runs the binary on a terminal of 60 columns; returns its status and what it shows.
fn on_terminal(room: &Sandbox, call: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let words: Vec<&str> = [&[env!("CARGO_BIN_EXE_lerianctl")], call].concat();
    let line = shlex::try_join(words).unwrap();
    let script = format!("stty rows 24 cols 60 </dev/tty; {line}");
    let output = Command::new("script")
        .args(["-qefc", &script, "/dev/null"])
        .current_dir(room.home())
        .env_clear()
        .envs([
            ("TERM", "xterm"),
            ("SHELL", "/bin/sh"),
            ("PATH", "/usr/bin:/bin"),
        ])
        .env("HOME", room.home())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    (output.status.code(), shown)
}

/// Runs a call on the narrow terminal, with and without colours; returns what it shows without.
fn in_sixty_columns(room: &Sandbox, call: &[&str], status: i32) -> String {
    let (ended, shown) = on_terminal(room, call, &[("NO_COLOR", "1"), ("CI", "true")]);
    assert_eq!(ended, Some(status), "{call:?}: {shown}");
    assert!(!shown.contains('\u{1b}'), "{call:?}: {shown}");
    let (_, coloured) = on_terminal(room, call, &[]);
    let plain = call.contains(&"render") || call.contains(&"--query") || call.contains(&"--remedy");
    assert!(plain || coloured.contains('\u{1b}'), "{call:?}");
    // What is to be copied stays whole: statements, commands, assignments.
    if plain {
        return shown;
    }
    let long = shown.lines().filter(|line| {
        let words = line.split_whitespace().map(|word| word.chars().count());
        line.chars().count() > 60 && words.max().unwrap_or(0) < 40
    });
    let remedies = shown.split("\nRemedy\n").nth(1).unwrap_or_default();
    let copied = |line: &&str| line.contains(';') || line.trim_start().starts_with('\\');
    let long: Vec<&str> = long
        .filter(|line| !remedies.contains(line) && !copied(line))
        .collect();
    assert!(long.is_empty(), "{call:?}: {long:#?}");
    shown
}

#[test]
fn sixty_columns_are_enough_and_nothing_is_coloured_unasked() {
    let room = room();
    for (call, status) in CALLS.iter().filter(|(call, _)| !call.contains(&"-o")) {
        in_sixty_columns(&room, call, *status);
    }
    // For a program nothing is coloured, whatever the terminal.
    for (call, _) in CALLS {
        let output = room.run(call.iter());
        assert!(!output.stdout.contains('\u{1b}'), "{output}");
        assert!(!output.stderr.contains('\u{1b}'), "{output}");
    }
}

/// `isolation fix` with a fleet that has something to mend, and something that it leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fix_keeps_to_pipes_narrow_terminals_and_what_ci_expects() {
    let fleet = Fleet::by_hand(true).await;
    let session = fleet.session("postgres").await;
    let leaks = "GRANT CONNECT ON DATABASE borealis TO aurora_app; ALTER ROLE aurora_app CREATEDB; \
                 ALTER DATABASE celeste OWNER TO aurora_app";
    session.batch_execute(leaks).await.unwrap();
    let before = session
        .query_one(
            "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'aurora_app'",
            &[],
        )
        .await
        .unwrap();
    assert!(before.get::<_, bool>(0));
    let room = room_of(&fleet);
    tokio::task::spawn_blocking(move || {
        let fix = |rest: &[&'static str]| {
            let check = CHECK.iter().skip(2).copied();
            let mut words = vec!["isolation", "fix"];
            words.extend(check);
            words.extend(rest);
            words
        };
        for (rest, status) in [
            (&["--dry-run"][..], 0),
            (&["--dry-run", "-o", "json"], 0),
            (&["--remedy", "sql"], 0),
            // Nobody is there to consent.
            (&[], 10),
        ] {
            left_by_its_reader(&room, &fix(rest), status, "-1");
        }
        for rest in [&["--dry-run"][..], &["--remedy", "sql"]] {
            let shown = in_sixty_columns(&room, &fix(rest), 0);
            assert!(shown.contains("REVOKE ALL ON DATABASE"), "{shown}");
        }
        // On a terminal of a pipeline nobody is asked either, and nothing waits for an answer.
        let (ended, shown) = on_terminal(&room, &fix(&[]), &[("CI", "true"), ("NO_COLOR", "1")]);
        assert_eq!(ended, Some(10), "{shown}");
        assert!(
            shown.contains("--yes") && !shown.contains('\u{1b}'),
            "{shown}"
        );
        for rest in [&["--dry-run"][..], &["--remedy", "sql"], &[]] {
            let output = room.run(fix(rest));
            assert!(!output.stdout.contains('\u{1b}'), "{output}");
            assert!(!output.stderr.contains('\u{1b}'), "{output}");
        }
        // Who leaves while it mends finds it mended.
        left_by_its_reader(&room, &fix(&["--yes"]), 3, "-1");
    })
    .await
    .unwrap();
    let mended = session
        .query_one(
            "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'aurora_app'",
            &[],
        )
        .await
        .unwrap();
    assert!(!mended.get::<_, bool>(0));
    session.close().await;
}

#[test]
fn without_a_home_everything_works_that_needs_none() {
    let room = room();
    // Nothing below writes there, so that what the system takes for a home does not matter.
    for home in [None, Some(""), Some("/nonexistent"), Some("/dev/null")] {
        let with_home = |call: &[&str]| {
            let mut command = room.command(call);
            command.env_remove("HOME").stdin(Stdio::null());
            if let Some(home) = home {
                command.env("HOME", home);
            }
            command.output().unwrap()
        };
        for (call, status) in CALLS {
            let output = with_home(call);
            assert_eq!(
                output.status.code(),
                Some(*status),
                "{call:?} {home:?}: {output:?}"
            );
        }
        if home.is_some_and(|home| !home.is_empty()) {
            let output = with_home(&["isolation", "show"]);
            assert_eq!(output.status.code(), Some(5), "{home:?}: {output:?}");
            assert!(text(&output.stderr).contains("isolation.no_report"));
        }
    }
}

#[test]
fn what_is_no_environment_is_told_in_a_few_lines() {
    let room = Sandbox::new();
    let large = format!("{ENVIRONMENT}PADDING={}\n", "x".repeat(10 * 1024 * 1024));
    let many = "A_VARIABLE_OF_MINE=1\n".repeat(500_000);
    let inputs: [(&str, Vec<u8>); 6] = [
        ("large", large.into_bytes()),
        ("many", many.into_bytes()),
        (
            "binary",
            std::fs::read(env!("CARGO_BIN_EXE_lerianctl")).unwrap()[..2_000_000].to_vec(),
        ),
        ("zeros", vec![0; 100_000]),
        (
            "invalid",
            b"APPLICATION_NAME=\xff\xfe\nMULTI_TENANT_ENABLED=true\n".to_vec(),
        ),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in inputs {
        room.write(name, bytes);
        for more in [&["--product", "ledger"][..], &[]] {
            for words in [
                &["env", "check", name][..],
                &["config", "validate", "--env-file", name],
            ] {
                if words[0] == "config" && !more.is_empty() {
                    continue;
                }
                let begun = std::time::Instant::now();
                let output = room
                    .command([words, more].concat())
                    .stdin(Stdio::null())
                    .output()
                    .unwrap();
                let status = output.status.code();
                let (stdout, stderr) = (
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr),
                );
                assert!(
                    matches!(status, Some(0 | 2 | 3)),
                    "{name} {words:?}: {status:?} {stderr}"
                );
                assert!(
                    stdout.len() + stderr.len() < 60_000,
                    "{name} {words:?}: {} bytes",
                    stdout.len()
                );
                assert!(!stdout.contains(['\u{0}', '\u{1b}']), "{name} {words:?}");
                assert!(!stderr.contains(['\u{0}', '\u{1b}']), "{name} {words:?}");
                assert!(begun.elapsed().as_secs() < 60, "{name} {words:?}");
            }
        }
    }
}

/// Changes a report, and expects that nobody believes it.
fn edited(room: &Sandbox, change: impl FnOnce(&mut Value)) -> Output {
    let mut changed = report();
    change(&mut changed);
    room.write("edited.json", changed.to_string());
    let output = room.run(["isolation", "show", "edited.json"]).exits(2);
    assert!(output.stderr.contains("isolation.report"), "{output}");
    let _ = room
        .run(["isolation", "diff", "edited.json", "r.json"])
        .exits(2);
    output
}

#[test]
fn a_report_that_was_edited_is_not_believed() {
    let room = room();
    // It looked at nothing, and says so.
    let shown = room.run(["isolation", "show", "r.json"]).exits(3);
    assert!(shown.stdout.starts_with("ISOLATION UNPROVEN"), "{shown}");
    let green = edited(&room, |report| {
        report["verdict"] = "holds".into();
        report["passed"] = true.into();
    });
    assert!(green.stderr.contains("no breach was planted"), "{green}");
    edited(&room, |report| report["counts"] = json!({ "critical": 1 }));
    edited(&room, |report| report["verdict"] = "refuted".into());
    edited(&room, |report| {
        report["verdict"] = "error".into();
        report["passed"] = true.into();
    });
    edited(&room, |report| report["schemaVersion"] = 999.into());
    edited(&room, |report| report["findings"] = "none".into());
    edited(&room, |report| report["verdict"] = "splendid".into());
    for bytes in [
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        "[".repeat(1_000_000).into_bytes(),
        vec![0xff; 1_000],
        report().to_string().into_bytes()[..500].to_vec(),
    ] {
        room.write("broken.json", bytes);
        for words in [
            &["isolation", "show", "broken.json"][..],
            &["isolation", "diff", "broken.json"],
        ] {
            let output = room.run(words).exits(2);
            assert!(output.stderr.len() < 3_000, "{output}");
        }
    }
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_costs_the_last_report_alone() {
    let fleet = Fleet::by_hand(true).await;
    let room = room_of(&fleet);
    // A file where the folder would be.
    room.write(".local/state", "");
    let checked = room
        .run([&CHECK[..], &["--report", "json=r.json"]].concat())
        .success();
    assert!(
        checked.stderr.contains("the report is not kept"),
        "{checked}"
    );
    let _ = room.run(["isolation", "show", "r.json"]).success();
    let _ = room.run(["isolation", "show"]).exits(5);
    // No home at all.
    let output = room
        .command(CHECK)
        .env("HOME", "/dev/null")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // Nothing answers: said at once, and not green.
    let session = fleet.session("postgres").await;
    session.close().await;
    let inventory = room
        .read("tenants.toml")
        .replace(&format!("port = {}", fleet.admin.port), "port = 1");
    room.write("nobody.toml", inventory);
    let nobody = [
        "isolation",
        "check",
        "--inventory",
        "nobody.toml",
        "--static",
    ];
    let nobody = room.run(nobody).exits(3);
    assert!(
        nobody.stdout.starts_with("ISOLATION NOT PROVED"),
        "{nobody}"
    );
}
