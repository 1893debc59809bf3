//! Logins with the Access Manager: kept privately, renewed in time, sent to one server only.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Play, Sandbox, Script};

fn tenants() -> Play {
    Play::json(200, json!({ "items": [] }))
}

/// Plays Access Manager and Tenant Manager; tokens are numbered.
fn script(expires_in: u64) -> Script {
    Script::answer(move |request, number| {
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        match request.line.as_str() {
            "POST /v1/login/oauth/access_token" if body["password"] == "mfa" => {
                Play::json(200, json!({ "mfaToken": "temporary" }))
            }
            "POST /v1/login/oauth/access_token" if body["clientSecret"] == "wrong" => Play::json(
                401,
                json!({ "code": "AUT-0001", "message": "no such client" }),
            ),
            "POST /v1/login/oauth/access_token" | "POST /v1/login/oauth/refresh_token" => {
                let mut answer = json!({
                    "accessToken": format!("token-{number}"), "tokenType": "Bearer", "expiresIn": expires_in,
                });
                if body["grantType"] != "client_credentials" {
                    answer["refreshToken"] = json!(format!("refresh-{number}"));
                }
                Play::json(200, answer)
            }
            _ => tenants(),
        }
    })
}

fn room(script: &Script) -> Sandbox {
    Sandbox::new()
        .with("LERIANCTL_SERVER", script.url())
        .with("PLUGIN_AUTH_ADDRESS", script.url())
}

#[test]
fn a_login_is_private_and_used_for_admin_calls_without_a_key() {
    let script = script(3600);
    let room = room(&script);
    let secret = room.write("deploy.secret", "s3cr3t\n");
    let login = [
        "auth",
        "login",
        "--client-id",
        "deploy",
        "--client-secret-file",
    ];
    let login: Vec<&str> = login
        .into_iter()
        .chain([secret.to_str().unwrap()])
        .collect();
    // A plain file only when it was asked for.
    let refused = room.run(&login).exits(2);
    assert!(refused.stderr.contains("auth.no_keyring"), "{refused}");
    assert!(script.seen().is_empty());

    let done = room
        .run(login.iter().chain(&["--store", "file", "-o", "json"]))
        .success();
    assert_eq!(done.json()["who"], "deploy");
    assert!(!done.stdout.contains("token-"), "{done}");
    let seen = &script.seen()[0];
    assert_eq!(
        serde_json::from_str::<Value>(&seen.body).unwrap(),
        json!({ "grantType": "client_credentials", "clientId": "deploy", "clientSecret": "s3cr3t" })
    );
    assert!(!seen.headers.contains_key("x-api-key"));

    room.run(["tenant", "list"]).success();
    let asked = script.seen().pop().unwrap();
    assert_eq!(asked.headers["authorization"], "Bearer token-0");
    assert!(!asked.headers.contains_key("x-api-key"));
    let status = room.run(["auth", "status", "-o", "json"]).success().json();
    assert_eq!(
        (&status["loggedIn"], &status["renewable"]),
        (&json!(true), &json!(true))
    );

    let file = find(room.home(), ".json").expect("the login is kept");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("s3cr3t"), "the secret is not kept");

    // To another server goes nothing of it.
    let other = self::script(3600);
    room.run(["tenant", "list", "--server", &other.url()])
        .exits(4);
    assert!(other.seen().is_empty());
    // Nor when others can read the file.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = room.run(["tenant", "list"]).exits(4);
    assert!(exposed.stderr.contains("auth.login_file"), "{exposed}");

    room.run(["auth", "logout"]).success();
    assert!(!file.exists());
    room.run(["tenant", "list"]).exits(4);
}

fn find(folder: &std::path::Path, ending: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, ending) {
                return Some(found);
            }
        } else if path.to_string_lossy().contains("logins")
            && path.to_string_lossy().ends_with(ending)
        {
            return Some(path);
        }
    }
    None
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    // Every token is about to end.
    let script = script(30);
    let room = room(&script);
    room.run_with_input(
        [
            "auth",
            "login",
            "--store",
            "file",
            "--username",
            "ana",
            "--password-file",
            "-",
        ],
        "hunter2\n",
    )
    .success();
    room.run(["tenant", "list"]).success();
    room.run(["tenant", "list"]).success();
    let lines: Vec<String> = script.seen().iter().map(|seen| seen.line.clone()).collect();
    assert!(
        lines[1].ends_with("/refresh_token") && lines[3].ends_with("/refresh_token"),
        "{lines:?}"
    );
    let seen = script.seen();
    assert_eq!(seen[1].body, r#"{"refreshToken":"refresh-0"}"#);
    assert_eq!(seen[2].headers["authorization"], "Bearer token-1");
    assert_eq!(seen[3].body, r#"{"refreshToken":"refresh-1"}"#);
}

#[test]
fn refusals_and_second_factors_are_said() {
    let script = script(3600);
    let room = room(&script);
    let refused = room
        .run_with_input(
            [
                "auth",
                "login",
                "--store",
                "file",
                "--client-id",
                "x",
                "--client-secret-file",
                "-",
            ],
            "wrong",
        )
        .exits(4);
    assert!(refused.stderr.contains("auth.login_refused"), "{refused}");
    assert!(refused.stderr.contains("AUT-0001"), "{refused}");
    let factor = room
        .run_with_input(
            [
                "auth",
                "login",
                "--store",
                "file",
                "--username",
                "ana",
                "--password-file",
                "-",
            ],
            "mfa",
        )
        .exits(4);
    assert!(factor.stderr.contains("auth.second_factor"), "{factor}");
    assert!(!factor.stderr.contains("temporary"), "{factor}");
    let status = room.run(["auth", "status", "-o", "json"]).success().json();
    assert_eq!(status["loggedIn"], false);
}
