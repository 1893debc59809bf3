//! `token mint`: tokens for a development server, and for no other.

use lerianctl::devstack::stack::{Stack, StackSettings};
use lerianctl::secret::Secret;
use lerianctl::token::SigningKey;
use serde_json::{Value, json};

use crate::support::{Play, Sandbox, Script};

const TENANT: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

/// A room with the data folder of a stack, whose key is returned.
fn room() -> (Sandbox, SigningKey) {
    let room = Sandbox::new().with("LERIANCTL_API_KEY", "k3y");
    let data = room.home().join(".local/share/lerianctl/dev");
    let stack = Stack::open(&data, StackSettings::default()).unwrap();
    let pem = stack
        .keys()
        .signing_key(|| SigningKey::generate().unwrap().to_pem().clone())
        .unwrap();
    (room, SigningKey::from_pem(&pem).unwrap())
}

/// A server that knows one tenant and checks tokens with `jwks`.
fn server(development: bool, jwks: Value) -> Script {
    Script::answer(move |seen, _| match seen.line.as_str() {
        "GET /v1/admin/info" => {
            Play::json(200, json!({"version": "0.1.0", "development": development}))
        }
        "GET /v1/admin/tenants/acme" => Play::json(
            200,
            json!({
                "id": TENANT, "slug": "acme", "name": "Acme", "environment": "staging",
                "isolationMode": "database", "status": "active",
                "createdAt": "2026-03-02T12:00:00Z", "updatedAt": "2026-03-02T12:00:00Z"
            }),
        ),
        "GET /.well-known/jwks.json" => Play::json(200, jwks.clone()),
        _ => Play::json(
            404,
            json!({"code": "tenant.not_found", "error": "tenant not found"}),
        ),
    })
}

#[test]
fn a_minted_token_stands_alone_and_is_good() {
    let (mut room, key) = room();
    let server = server(true, key.jwks());
    room.set("LERIANCTL_SERVER", server.url());
    let output = room
        .run([
            "token",
            "mint",
            "--tenant",
            "acme",
            "--subject",
            "ada",
            "--lifetime",
            "10m",
            "--claim",
            "scope=openid",
            "--claim",
            "level=3",
        ])
        .success();
    assert_eq!(output.stderr, "");
    let token = output.stdout.strip_suffix('\n').unwrap();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let address = format!("{}/.well-known/jwks.json", server.url());
    let document = room
        .run_with_input(
            ["token", "inspect", "--jwks", &address, "-o", "json"],
            token,
        )
        .success()
        .json();
    assert_eq!(document["verified"], true);
    assert_eq!(document["warnings"], json!([]));
    assert_eq!(document["validity"]["words"], "valid, expires in 9 minutes");
    let claims = &document["claims"];
    for (name, value) in [
        ("tenantId", json!(TENANT)),
        ("tenantSlug", json!("acme")),
        ("owner", json!("acme")),
        ("sub", json!("ada")),
        ("type", json!("normal-user")),
        ("scope", json!("openid")),
        ("level", json!(3)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    // The key set is public: no API key is sent for it.
    for seen in server.seen() {
        let key = seen.headers.get("x-api-key");
        let wanted = seen.line.starts_with("GET /v1/");
        assert_eq!(
            key.is_some(),
            wanted && seen.line != "GET /.well-known/jwks.json",
            "{seen:?}"
        );
    }
    let document = room
        .run(["token", "mint", "--tenant", "acme", "-o", "json"])
        .success()
        .json();
    assert_eq!(document["kind"], "Token");
    assert_eq!(document["keyId"], key.id());
}

#[test]
fn only_a_development_server_with_this_key_gets_tokens() {
    let (mut room, key) = room();
    let mint = ["token", "mint", "--tenant", "acme"];
    let production = server(false, key.jwks());
    room.set("LERIANCTL_SERVER", production.url());
    let output = room.run(mint).exits(11);
    assert!(
        output.stderr.contains("error[token.not_development]"),
        "{output}"
    );

    let other = server(true, SigningKey::generate().unwrap().jwks());
    room.set("LERIANCTL_SERVER", other.url());
    let output = room.run(mint).exits(6);
    assert!(
        output.stderr.contains("error[token.other_signing_key]"),
        "{output}"
    );
    assert_eq!(output.stdout, "");

    let right = server(true, key.jwks());
    room.set("LERIANCTL_SERVER", right.url());
    let _ = room.run(["token", "mint", "--tenant", "nobody"]).exits(5);
    let output = room
        .run([&mint[..], &["--data", "elsewhere"]].concat())
        .exits(5);
    assert!(output.stderr.contains("error[dev.none]"), "{output}");
    for (flags, words) in [
        (&["--claim", "tenantId=x"][..], "`tenantId`"),
        (&["--claim", "EXP=1"], "`EXP`"),
        (&["--owner", ""], "`owner`"),
        (&["--lifetime", "721h"], "30 days"),
        (&["--lifetime", "0s"], "longer than nothing"),
        (&["--claim", "novalue"], "KEY=VALUE"),
    ] {
        let output = room.run([&mint[..], flags].concat()).exits(2);
        assert!(output.stderr.contains(words), "{output}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn the_private_key_is_never_shown() {
    let (mut room, key) = room();
    let server = server(true, key.jwks());
    room.set("LERIANCTL_SERVER", server.url());
    let pem: &Secret = key.to_pem();
    let line = pem.expose().lines().nth(1).unwrap();
    for flags in [&["-vv"][..], &["-o", "json"], &["--claim", "jti=x"]] {
        let output = room.run([&["token", "mint", "--tenant", "acme"], flags].concat());
        assert!(
            !output.stdout.contains(line) && !output.stderr.contains(line),
            "{output}"
        );
    }
}
