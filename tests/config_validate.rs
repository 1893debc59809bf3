//! `config validate`: the file, the secrets' places, and a pod's variables before it starts.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Output, Sandbox};

const PATH: &str = ".config/lerianctl/config.toml";

fn codes(room: &Sandbox, flags: &[&str]) -> Vec<String> {
    let call = [&["config", "validate", "-o", "json"], flags].concat();
    let output = room.run(call);
    let report = output.json();
    let items = report["items"].as_array().unwrap();
    assert_eq!(report["valid"], items.is_empty());
    assert_eq!(
        output.status,
        Some(if items.is_empty() { 0 } else { 3 }),
        "{output}"
    );
    let code = |item: &Value| item["code"].as_str().unwrap().to_owned();
    items.iter().map(code).collect()
}

#[test]
fn nothing_at_all_is_valid() {
    let room = Sandbox::new();
    assert_eq!(codes(&room, &[]), [""; 0]);
    let output = room.run(["config", "validate"]).success();
    assert!(output.stdout.contains("valid"), "{output}");
}

#[test]
fn a_pods_variables_are_checked_against_the_products_rules() {
    let room = Sandbox::new();
    let good = "MULTI_TENANT_ENABLED=true\nPLUGIN_AUTH_ENABLED=true\nPLUGIN_AUTH_HOST=http://plugin-auth:4000\n\
        MULTI_TENANT_URL=https://tm.example\nMULTI_TENANT_SERVICE_API_KEY=key\nMULTI_TENANT_REDIS_HOST=redis\n\
        APPLICATION_NAME=ledger\nENV_NAME=production\nMULTI_TENANT_CACHE_TTL_SEC=600\n";
    room.write("good.env", good);
    assert_eq!(codes(&room, &["--env-file", "good.env"]), [""; 0]);
    for (line, expected) in [
        ("PLUGIN_AUTH_ENABLED=false", "config.auth_required"),
        ("PLUGIN_AUTH_HOST=", "config.auth_address"),
        ("PLUGIN_AUTH_HOST=plugin-auth", "config.auth_address"),
        ("MULTI_TENANT_URL=", "config.missing"),
        ("MULTI_TENANT_URL=http://tm.example", "config.insecure_http"),
        ("MULTI_TENANT_URL=tm.example", "config.invalid_value"),
        ("MULTI_TENANT_SERVICE_API_KEY=", "config.missing"),
        ("APPLICATION_NAME=", "config.missing"),
        ("APPLICATION_NAME=a/b", "config.invalid_value"),
        ("MULTI_TENANT_REDIS_HOST=", "config.missing"),
        ("MULTI_TENANT_REDIS_HOST=redis:6379", "config.invalid_value"),
        ("MULTI_TENANT_REDIS_PORT=70000", "config.invalid_value"),
        ("MULTI_TENANT_REDIS_TLS=yes", "config.invalid_value"),
        ("MULTI_TENANT_REDIS_CA_CERT=rubbish", "config.invalid_value"),
        ("ENV_NAME=prod", "config.environment"),
        ("MULTI_TENANT_CACHE_TTL_SEC=30s", "config.invalid_value"),
        ("MULTI_TENANT_CACHE_TTL_SEC=0", "config.zero"),
        (
            "MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC=x",
            "config.invalid_value",
        ),
        (
            "MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD=-1",
            "config.invalid_value",
        ),
        (
            "MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC=0",
            "config.invalid_value",
        ),
        ("MULTI_TENANT_TIMEOUT=1.5", "config.invalid_value"),
        ("MULTI_TENANT_MAX_TENANT_POOLS=0", "config.product"),
        ("MULTI_TENNANT_URL=https://tm.example", "config.product"),
        ("MULTI_TENANT_IDLE_TIMEOUT_SEC=5m", "config.invalid_value"),
        (
            "MULTI_TENANT_ALLOW_INSECURE_HTTP=on",
            "config.invalid_value",
        ),
        ("MULTI_TENANT_ENABLED=yes", "config.invalid_value"),
    ] {
        room.write("bad.env", format!("{good}{line}\n"));
        let found = codes(&room, &["--env-file", "bad.env"]);
        assert!(found.contains(&expected.to_owned()), "{line}: {found:?}");
    }
}

/// One set of rules: what `env check` says of a variable that both read, `config validate` says too.
#[test]
fn the_rules_are_those_of_env_check() {
    let room = Sandbox::new();
    let crm = "MULTI_TENANT_ENABLED=true\nPLUGIN_AUTH_ENABLED=true\nPLUGIN_AUTH_ADDRESS=http://plugin-auth:4000\n\
        MULTI_TENANT_URL=https://tm.example\nMULTI_TENANT_SERVICE_API_KEY=key\nMULTI_TENANT_REDIS_HOST=redis\n\
        APPLICATION_NAME=crm\nENV_NAME=production\nMULTI_TENANT_CACHE_TTL_SEC=600\n\
        MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD=5\nMULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC=30\n\
        MULTI_TENANT_MAX_TENANT_POOLS=100\n";
    room.write("crm.env", crm);
    assert_eq!(codes(&room, &["--env-file", "crm.env"]), [""; 0]);
    for (line, expected) in [
        ("MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD=0", "config.zero"),
        ("MULTI_TENANT_MAX_TENANT_POOLS=0", "config.zero"),
        ("MULTI_TENANT_CACHE_TTL_SEC=", "config.zero"),
        (
            "PLUGIN_AUTH_ADDRESS=\nPLUGIN_AUTH_HOST=http://plugin-auth:4000",
            "config.auth_address",
        ),
        (
            "ENV_NAME=staging\nENVIRONMENT_NAME=production",
            "config.environment",
        ),
    ] {
        let text = format!("{crm}{line}\n");
        room.write("bad.env", &text);
        let found = codes(&room, &["--env-file", "bad.env"]);
        assert_eq!(found, [expected], "{line}");
        let both = room.run([
            "env",
            "check",
            "--product",
            "crm",
            "bad.env",
            "--fail-on",
            "low",
        ]);
        assert_eq!(both.status, Some(3), "{line}: {both}");
        // The ledger reads none of these, or reads them otherwise.
        if line.contains("POOLS") || line.contains("THRESHOLD") {
            let ledger = text
                .replace("=crm", "=ledger")
                .replace("AUTH_ADDRESS", "AUTH_HOST");
            room.write("bad.env", ledger);
            let found = codes(&room, &["--env-file", "bad.env"]);
            assert!(
                !found.contains(&"config.zero".to_owned()),
                "{line}: {found:?}"
            );
        }
    }
}

#[test]
fn unknown_keys_and_broken_contexts_are_found_wherever_they_are() {
    let room = Sandbox::new();
    room.write(PATH, "version = 1\ncurrent-context = \"a\"\n[context.a]\nserver = \"https://a\"\nprotectd = true\n[context.b]\nserver = 5\n");
    assert_eq!(
        codes(&room, &[]),
        ["config.invalid_value", "config.warning"]
    );
    let output = room.run(["config", "validate"]).exits(3);
    assert!(
        output.stdout.contains("did you mean `protected`?"),
        "{output}"
    );
    assert!(output.stdout.contains("line 7"), "{output}");

    room.write(PATH, "version = 1\ncurrent-context = \"gone\"\n");
    assert_eq!(codes(&room, &[]), ["config.unknown_context"]);
    room.write(PATH, "version = ");
    assert_eq!(codes(&room, &[]), ["config.syntax"]);
}

#[test]
fn secrets_must_be_where_the_file_says() {
    let room = Sandbox::new();
    let with = |key: &str, mode: u32| {
        let path = room.write(PATH, format!("version = 1\ncurrent-context = \"a\"\n[context.a]\nserver = \"https://a\"\napi-key = {key}\n"));
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        codes(&room, &[])
    };
    room.write("key", "hunter2\n");
    room.write("empty", "\n");
    assert_eq!(with("{ file = \"~/key\" }", 0o644), [""; 0]);
    assert_eq!(with("{ file = \"~/empty\" }", 0o644), ["config.secret"]);
    assert_eq!(with("{ file = \"~/missing\" }", 0o644), ["config.secret"]);
    assert_eq!(with("{ env = \"MISSING\" }", 0o644), ["config.secret"]);
    assert_eq!(with("{ keyring = \"a/b\" }", 0o644), ["config.secret"]);
    assert_eq!(with("\"hunter2\"", 0o600), [""; 0]);
    assert_eq!(with("\"hunter2\"", 0o640), ["config.invalid_value"]);
    // A program is not run here, and never from a file that others can write.
    assert_eq!(with("{ command = [\"touch\", \"ran\"] }", 0o644), [""; 0]);
    assert_eq!(
        with("{ command = [\"touch\", \"ran\"] }", 0o646),
        ["config.secret"]
    );
    let list = room.run(["tenant", "list"]).exits(2);
    assert!(list.stderr.contains("others could have written"), "{list}");
    assert!(!room.home().join("ran").exists());
}

#[test]
fn a_program_gives_the_key_and_its_failure_is_explained() {
    let room = Sandbox::new();
    let marks = room.home().join("ran");
    let script = format!("echo x >> {}; echo hunter2; exit 7", marks.display());
    let text = format!(
        "version = 1\ncurrent-context = \"a\"\n[context.a]\nserver = \"http://127.0.0.1:1\"\napi-key = {{ command = [\"sh\", \"-c\", \"{script}\"] }}\n"
    );
    room.write(PATH, &text);
    let failed = room.run(["tenant", "list"]).exits(2);
    assert!(failed.stderr.contains("exit status: 7"), "{failed}");
    assert!(
        !failed.stderr.replace(&script, "").contains("hunter2"),
        "{failed}"
    );
    room.write(PATH, text.replace("exit 7", "exit 0"));
    let unreachable = room.run(["tenant", "list"]).exits(7);
    assert!(unreachable.stderr.contains("127.0.0.1:1"), "{unreachable}");
    assert!(!unreachable.stderr.contains("hunter2"), "{unreachable}");
    assert_eq!(room.read("ran"), "x\nx\n", "once per call");
}

#[test]
fn hostile_files_are_refused_and_not_repeated() {
    let room = Sandbox::new();
    for text in [
        "\u{0}".repeat(100),
        "[".repeat(100_000),
        format!("version = 1\n{}", "x = 1\n".repeat(300_000)),
        "version = 1\n[context.\"\\u001b[31m\"]\n".to_owned(),
    ] {
        room.write(PATH, &text);
        let output = room.run(["config", "validate"]);
        assert!(matches!(output.status, Some(2 | 3)), "{:?}", output.status);
        assert!(
            output.stdout.len() + output.stderr.len() < 5_000,
            "{output}"
        );
        assert!(!output.stdout.contains(['\u{1b}', '\u{0}']), "{output}");
        assert!(!output.stderr.contains(['\u{1b}', '\u{0}']), "{output}");
    }
    std::fs::remove_file(room.home().join(PATH)).unwrap();
    std::fs::create_dir(room.home().join(PATH)).unwrap();
    let _: Output = room.run(["config", "validate"]).exits(2);
}
