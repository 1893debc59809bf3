//! `token inspect`: where a token may come from, what is said of it, and with which status.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use lerianctl::secret::Secret;
use lerianctl::token::{Claims, SigningKey, TokenType, mint};
use serde_json::{Map, Value, json};

use crate::support::{Output, Sandbox};

const TENANT: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

/// A token that was minted `age` ago for an hour.
fn minted(key: &SigningKey, age: Duration) -> Secret {
    let claims = Claims {
        tenant_id: TENANT.parse().unwrap(),
        tenant_slug: Some("acme".parse().unwrap()),
        owner: Some("acme".to_owned()),
        subject: Some("ada".to_owned()),
        token_type: TokenType::Human,
        extra: Map::new(),
    };
    mint(
        key,
        &claims,
        Duration::from_hours(1),
        Timestamp::now() - age,
    )
    .unwrap()
}

/// A token that nobody signed.
fn forged(claims: &Value) -> String {
    let b64 = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", b64(&json!({"alg": "none"})), b64(claims))
}

/// Fails when any part of the token stands in what was printed.
#[track_caller]
fn keeps_quiet(output: &Output, token: &str) {
    for part in token.split('.').filter(|part| !part.is_empty()) {
        assert!(!output.stdout.contains(part), "{output}");
        assert!(!output.stderr.contains(part), "{output}");
    }
}

#[test]
fn a_token_comes_from_standard_input_a_file_or_a_variable() {
    let token = minted(&SigningKey::generate().unwrap(), Duration::ZERO);
    let token = token.expose();
    let room = Sandbox::new().with("TOKEN", format!("Bearer {token}"));
    room.write("token.txt", format!("\"{token}\"\n"));
    for (arguments, input) in [
        (vec!["token", "inspect", "-"], token),
        (vec!["token", "inspect"], token),
        (vec!["token", "inspect", "--file", "-"], token),
        (vec!["token", "inspect", "--file", "token.txt"], ""),
        (vec!["token", "inspect", "--variable", "TOKEN"], ""),
    ] {
        let output = room.run_with_input(&arguments, input).success();
        assert_eq!(output.stderr, "");
        assert!(
            output.stdout.starts_with(&format!("tenant: {TENANT}\n")),
            "{output}"
        );
        assert!(output.stdout.contains("signature NOT verified"), "{output}");
        assert!(
            output.stdout.contains("valid, expires in 59 minutes"),
            "{output}"
        );
        let signature = token.rsplit('.').next().unwrap();
        assert!(!output.stdout.contains(signature), "{output}");
    }
    for (arguments, code) in [
        (vec!["--variable", "UNSET"], "input.variable_unset"),
        (vec!["--file", "absent"], "input.unreadable"),
        (vec!["-"], "token.empty"),
        (vec!["-", "--secret-file", "-"], "input.stdin_twice"),
    ] {
        let output = room
            .run([vec!["token", "inspect"], arguments].concat())
            .exits(2);
        assert!(
            output.stderr.starts_with(&format!("error[{code}]")),
            "{output}"
        );
    }
    for arguments in [
        vec!["-", "--file", "token.txt"],
        vec!["--variable", "TOKEN", "--file", "token.txt"],
        vec!["--jwks", "a", "--public-key", "b"],
        vec!["--service", "ledger"],
        vec!["--resolve"],
        vec!["--accept-shared-secrets"],
    ] {
        let output = room
            .run([vec!["token", "inspect"], arguments].concat())
            .exits(2);
        assert!(output.stderr.contains("Usage: "), "{output}");
    }
}

#[test]
fn a_token_on_the_command_line_is_refused_and_not_repeated() {
    let token = minted(&SigningKey::generate().unwrap(), Duration::ZERO);
    let token = token.expose();
    let room = Sandbox::new();
    for arguments in [
        vec![token],
        vec![token, token],
        vec!["-", token],
        vec!["--file", token],
        vec!["--variable", token],
        vec!["--secret-variable", token],
        vec![token, "-o", "json"],
        vec![token, "-vv"],
    ] {
        let output = room
            .run([vec!["token", "inspect"], arguments].concat())
            .exits(2);
        keeps_quiet(&output, token);
        assert!(
            output.stderr.contains("error[input.secret_in_argument]"),
            "{output}"
        );
        assert!(
            output
                .stderr
                .contains("`lerianctl token inspect - < token.txt`"),
            "{output}"
        );
    }
}

#[test]
fn a_signature_is_checked_with_whatever_key_is_given() {
    let key = SigningKey::generate().unwrap();
    let token = minted(&key, Duration::ZERO);
    let token = token.expose();
    let room = Sandbox::new().with("SECRET", "hunter2hunter2");
    room.write("jwks.json", key.jwks().to_string());
    room.write(
        "other.json",
        SigningKey::generate().unwrap().jwks().to_string(),
    );
    room.write("private.pem", key.to_pem().expose());
    room.write("secret", "hunter2hunter2\n");
    let run = |arguments: &[&str], input: &str| {
        room.run_with_input([&["token", "inspect", "-"], arguments].concat(), input)
    };

    let good = run(&["--jwks", "jwks.json"], token).success();
    assert!(
        good.stdout
            .contains("signature verified: signed by the RSA key of 2048 bits"),
        "{good}"
    );
    let set = key.jwks();
    let id = set["keys"][0]["kid"].as_str().unwrap();
    let line = good.stdout.lines().find(|line| line.contains("verified"));
    assert_eq!(line.unwrap().matches(id).count(), 1, "{good}");
    let document = run(&["--jwks", "jwks.json", "-o", "json"], token)
        .success()
        .json();
    assert_eq!(document["kind"], "TokenInspection");
    assert_eq!(document["verified"], true);
    assert_eq!(document["verification"]["reason"], "signed");
    assert_eq!(document["tenant"]["canonical"], TENANT);
    assert_eq!(document["resolution"], Value::Null);
    assert!(
        !document
            .to_string()
            .contains(token.rsplit('.').next().unwrap())
    );

    let other = run(&["--jwks", "other.json", "-o", "json"], token)
        .exits(3)
        .json();
    assert_eq!(other["verified"], false);
    assert_eq!(other["verification"]["reason"], "keyUnknown");

    let (signed, _) = token.rsplit_once('.').unwrap();
    let cut = run(&["--jwks", "jwks.json"], &format!("{signed}.AAAA")).exits(3);
    assert!(
        cut.stdout
            .contains("signature does NOT hold: the signature is wrong"),
        "{cut}"
    );

    // Nothing may be taken for a secret that is none.
    for flags in [
        &["--secret-file", "secret"][..],
        &["--secret-variable", "SECRET"],
    ] {
        let output = run(flags, token).exits(3);
        assert!(
            output
                .stdout
                .contains("RS256, which is not an algorithm of the shared secret"),
            "{output}"
        );
        assert!(!output.stdout.contains("hunter2"), "{output}");
    }
    let private = run(&["--public-key", "private.pem"], token).exits(2);
    assert!(
        private.stderr.contains("error[token.key_unusable]"),
        "{private}"
    );
    assert!(private.stderr.contains("openssl pkey"), "{private}");
    let insecure = run(&["--jwks", "http://192.0.2.1/jwks"], token).exits(2);
    assert!(
        insecure.stderr.contains("error[token.insecure_key_set]"),
        "{insecure}"
    );
    let away = run(
        &["--jwks", "http://127.0.0.1:9/jwks", "--timeout", "20s"],
        token,
    )
    .exits(7);
    assert_eq!(away.stdout, "");
}

#[test]
fn the_status_says_whether_the_token_is_good() {
    let key = SigningKey::generate().unwrap();
    let room = Sandbox::new();
    room.write("jwks.json", key.jwks().to_string());
    let stale = minted(&key, Duration::from_hours(72));
    let expired = room
        .run_with_input(["token", "inspect"], stale.expose())
        .exits(3);
    assert!(expired.stdout.contains("expired 2 days ago"), "{expired}");
    let document = room
        .run_with_input(
            ["token", "inspect", "--jwks", "jwks.json", "-o", "json"],
            stale.expose(),
        )
        .exits(3)
        .json();
    assert_eq!(document["verified"], true);
    assert_eq!(document["validity"]["state"], "expired");

    // Looking is not judging: without a check, a strange token is described and that is that.
    let strange = forged(&json!({"type": "m"}));
    let output = room
        .run_with_input(["token", "inspect"], &strange)
        .success();
    assert!(output.stdout.contains("tenant-missing"), "{output}");
    let output = room
        .run_with_input(["token", "inspect", "--jwks", "jwks.json"], &strange)
        .exits(3);
    assert!(
        output
            .stdout
            .contains("does NOT hold: the header says `none`"),
        "{output}"
    );
}

#[test]
fn what_is_no_token_is_named() {
    let room = Sandbox::new();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for (input, code, words) in [
        (
            "not a token".to_owned(),
            "token.malformed",
            "3 parts separated by dots",
        ),
        ("a.b.c.d.e".to_owned(), "token.encrypted", "JWE"),
        ("x".repeat(100_000), "token.too_large", "65536"),
        ("x".repeat(2 * 1024 * 1024), "input.too_large", "the token"),
        (
            r#"{"accessToken":"eyJ"}"#.to_owned(),
            "token.malformed",
            "jq -r .accessToken",
        ),
        (
            format!("{}.{}.", b64("[]"), b64("{}")),
            "token.malformed",
            "the header part is an array",
        ),
        (
            format!("{}.{}.", b64("{}"), b64(&deep)),
            "token.malformed",
            "the claims part is not JSON",
        ),
        (format!("{}.e\0J.", b64("{}")), "token.malformed", "U+0000"),
        (format!("{}.😀.", b64("{}")), "token.malformed", "U+1F600"),
    ] {
        let output = room.run_with_input(["token", "inspect"], &input).exits(2);
        assert!(
            output.stderr.starts_with(&format!("error[{code}]")),
            "{output}"
        );
        assert!(output.stderr.contains(words), "{output}");
        assert!(output.stderr.len() < 1000, "{output}");
        assert_eq!(output.stdout, "");
    }
    let document = room
        .run_with_input(["token", "inspect", "-o", "json"], "x")
        .exits(2)
        .json();
    assert_eq!(document["error"]["code"], "token.malformed");
    assert_eq!(
        document["error"]["causes"][0],
        "a product answers 401 `INVALID_TOKEN`"
    );
}

#[test]
fn a_hostile_token_cannot_drive_the_terminal() {
    let room = Sandbox::new();
    let claims =
        json!({"tenantId": "\u{1b}[2J\u{202e}x", "\u{1b}]0;t\u{7}": "\r\u{1b}[1A", "type": "m"});
    for flags in [&["--color", "always"][..], &["--color", "never"]] {
        let output = room
            .run_with_input([&["token", "inspect"], flags].concat(), forged(&claims))
            .success();
        let own = [
            "\u{1b}[0m",
            "\u{1b}[1m",
            "\u{1b}[2m",
            "\u{1b}[33m",
            "\u{1b}[31;1m",
            "\u{1b}[32m",
        ];
        let rest = own
            .iter()
            .fold(output.stdout.clone(), |text, code| text.replace(code, ""));
        assert!(
            !rest.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']),
            "{output}"
        );
    }
}
