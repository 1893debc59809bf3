//! Tokens and keys in a real keyring: GNOME Keyring on a session bus of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Play, Sandbox, Script, skip};

const PATIENCE: Duration = Duration::from_secs(30);

/// A session bus with a keyring, ended when dropped.
struct Desktop {
    children: Vec<Child>,
    variables: Vec<(&'static str, String)>,
    _home: tempfile::TempDir,
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Desktop {
    /// Starts one; none where the programs are missing.
    fn start() -> Option<Self> {
        for program in ["dbus-daemon", "gnome-keyring-daemon", "secret-tool"] {
            let found = Command::new(program).arg("--version").output();
            if found.is_err() {
                skip(&format!("{program} is not there: no test of keyrings"));
                return None;
            }
        }
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let folder = home.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            folder.display().to_string()
        };
        let mut variables = vec![
            ("HOME", home.path().display().to_string()),
            ("XDG_RUNTIME_DIR", at("run")),
            ("XDG_DATA_HOME", at("data")),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ];
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .env_clear()
            .envs(variables.clone())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        variables.push(("DBUS_SESSION_BUS_ADDRESS", address.trim().to_owned()));
        let mut keyring = Command::new("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .env_clear()
            .envs(variables.clone())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut password = keyring.stdin.take().unwrap();
        password.write_all(b"of the desktop").unwrap();
        drop(password);
        let desktop = Self {
            children: vec![keyring, bus],
            variables,
            _home: home,
        };
        let begun = Instant::now();
        while desktop.tool(&["store", "--label=x", "is", "there"], "yes") != (true, String::new()) {
            assert!(begun.elapsed() < PATIENCE, "the keyring does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(desktop)
    }

    /// Runs `secret-tool` as a person would; returns whether it ended well, and its output.
    fn tool(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new("secret-tool")
            .args(arguments)
            .env_clear()
            .envs(self.variables.clone())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    /// Returns what lerianctl has put there.
    fn all(&self) -> String {
        self.tool(&["search", "--all", "application", "lerianctl"], "")
            .1
    }

    fn room(&self, script: &Script) -> Sandbox {
        let mut room = Sandbox::new()
            .with("LERIANCTL_SERVER", script.url())
            .with("PLUGIN_AUTH_ADDRESS", script.url());
        for (name, value) in &self.variables {
            if name.starts_with("XDG_RUNTIME") || name.starts_with("DBUS") {
                room.set(name, value);
            }
        }
        room
    }
}

/// Returns the texts of all files below a folder.
fn texts(folder: &Path) -> String {
    let mut found = String::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.push_str(&texts(&path));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            found.push_str(&text);
        }
    }
    found
}

/// Plays Access Manager and Tenant Manager; tokens are numbered, and about to end.
fn script() -> Script {
    Script::answer(|request, number| {
        if request.line.contains("/oauth/") {
            return Play::json(
                200,
                json!({
                    "accessToken": format!("token-{number}"), "tokenType": "Bearer",
                    "refreshToken": format!("refresh-{number}"), "expiresIn": 30,
                }),
            );
        }
        Play::json(200, json!({ "items": [] }))
    })
}

#[test]
fn tokens_are_in_the_keyring_and_in_no_file() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let script = script();
    let room = desktop.room(&script);
    let login = ["auth", "login", "--username", "ana", "--password-file", "-"];
    room.run_with_input(login, "hunter2\n").success();
    let status = room.run(["auth", "status", "-o", "json"]).success().json();
    assert_eq!(
        [&status["loggedIn"], &status["renewable"], &status["keptIn"]],
        [&json!(true), &json!(true), &json!("keyring")]
    );
    let kept = desktop.all();
    assert!(
        kept.contains("token-0") && kept.contains("refresh-0"),
        "{kept}"
    );

    // Renewed with what is there, and kept there again.
    for number in [1, 3] {
        room.run(["tenant", "list"]).success();
        let seen = script.seen();
        assert_eq!(
            seen[number].body,
            format!(
                r#"{{"refreshToken":"refresh-{}"}}"#,
                number.saturating_sub(2)
            )
        );
        assert_eq!(
            seen[number + 1].headers["authorization"],
            format!("Bearer token-{number}")
        );
    }
    let kept = desktop.all();
    assert!(
        kept.contains("token-3") && !kept.contains("token-1"),
        "{kept}"
    );
    let files = texts(room.home());
    assert!(files.contains("\"username\": \"ana\""), "{files}");
    assert!(
        !files.contains("token-") && !files.contains("refresh-"),
        "{files}"
    );

    // Who chooses a file afterwards leaves nothing behind.
    room.run_with_input(login.into_iter().chain(["--store", "file"]), "hunter2\n")
        .success();
    assert_eq!(desktop.all(), "");
    room.run_with_input(login, "hunter2\n").success();
    assert!(!texts(room.home()).contains("token-"));
    assert!(desktop.all().contains("token-"));
    room.run(["auth", "logout"]).success();
    assert_eq!(desktop.all(), "");
    room.run(["tenant", "list"]).exits(4);

    // What it would cut off is refused, and nothing is kept.
    let long = Script::answer(|_, _| {
        Play::json(
            200,
            json!({ "accessToken": "x".repeat(9000), "tokenType": "Bearer", "expiresIn": 3600 }),
        )
    });
    let room = desktop.room(&long);
    let refused = room.run_with_input(login, "hunter2\n").exits(2);
    assert!(refused.stderr.contains("auth.no_keyring"), "{refused}");
    assert!(refused.stderr.contains("8192 bytes"), "{refused}");
    assert_eq!(desktop.all(), "");
}

#[test]
fn a_key_of_the_configuration_comes_from_the_keyring() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let script = script();
    let room = desktop.room(&script).without("LERIANCTL_SERVER");
    let config = format!(
        "version = 1\ncurrent-context = \"s\"\n[context.s]\nserver = \"{}\"\napi-key = {{ keyring = \"lerianctl/staging\" }}\n",
        script.url()
    );
    room.write(".config/lerianctl/config.toml", config);
    let missing = room.run(["tenant", "list"]).exits(2);
    assert!(missing.stderr.contains("no such entry"), "{missing}");
    let store = ["store", "--label=staging", "application", "lerianctl"];
    let store: Vec<&str> = store
        .into_iter()
        .chain(["name", "lerianctl/staging"])
        .collect();
    assert!(desktop.tool(&store, "of-the-keyring").0);
    room.run(["tenant", "list"]).success();
    assert_eq!(script.seen()[0].headers["x-api-key"], "of-the-keyring");
}
