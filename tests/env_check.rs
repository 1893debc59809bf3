//! `env check`, `env render` and `env explain`: the products' environments from every kind of input.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::{Output, Sandbox};

/// A Ledger that starts, composed from what its rules ask for.
const LEDGER: &str = "APPLICATION_NAME=ledger\nENV_NAME=production\nDEPLOYMENT_MODE=byoc\nALLOW_INSECURE_TLS=false\n\
    MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm.example\nMULTI_TENANT_SERVICE_API_KEY=hunter2\n\
    MULTI_TENANT_REDIS_HOST=redis\nMULTI_TENANT_REDIS_TLS=true\nMULTI_TENANT_CACHE_TTL_SEC=600\n\
    PLUGIN_AUTH_ENABLED=true\nPLUGIN_AUTH_HOST=http://plugin-auth:4000\n\
    DB_ONBOARDING_HOST=pg\nDB_ONBOARDING_SSLMODE=require\nDB_TRANSACTION_HOST=pg\nDB_TRANSACTION_SSLMODE=require\n\
    REDIS_HOST=redis:6379\nREDIS_TLS=true\nRABBITMQ_TRANSACTION_BALANCE_OPERATION_QUEUE=q\n";

fn without_secrets(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains("hunter"), "{output}");
    }
}

/// Runs the check and returns its document, which must agree with the status.
fn check(room: &Sandbox, arguments: &[&str]) -> Value {
    let output = room.run([&["env", "check", "-o", "json"], arguments].concat());
    without_secrets(&output);
    let report = output.json();
    let clean = report["clean"].as_bool();
    assert_eq!(
        output.status,
        Some(if clean == Some(true) { 0 } else { 3 }),
        "{output}"
    );
    report
}

fn rules(report: &Value) -> Vec<&str> {
    let environments = report["environments"].as_array().unwrap().iter();
    environments
        .flat_map(|environment| environment["findings"].as_array().unwrap())
        .chain(report["differences"].as_array().unwrap())
        .map(|finding| finding["rule"].as_str().unwrap())
        .collect()
}

#[test]
fn a_good_environment_is_clean_and_a_bad_line_is_found() {
    let room = Sandbox::new();
    room.write("ledger.env", LEDGER);
    let report = check(&room, &["--env-file", "ledger.env"]);
    let environment = &report["environments"][0];
    assert_eq!(environment["verdict"], "boots");
    assert_eq!(environment["tenancy"], "byoc-multi-tenant");
    assert_eq!(environment["product"], "ledger");
    for (line, verdict, rule) in [
        (
            "PLUGIN_AUTH_HOST=",
            "boots-insecurely",
            "auth-address-empty",
        ),
        (
            "PLUGIN_AUTH_ENABLED=yes",
            "refuses-to-start",
            "auth-required",
        ),
        (
            "MULTI_TENANT_URL=http://tm.example",
            "refuses-to-start",
            "url-http-refused",
        ),
        (
            "MULTI_TENANT_CACHE_TTL_SEC=0",
            "boots",
            "cache-never-expires",
        ),
        ("MULTI_TENANT_CACHE_TTL=600", "boots", "variable-unread"),
        ("MULTI_TENNANT_URL=hunter3", "boots", "variable-misspelled"),
        ("hunter4", "boots", "line-malformed"),
        ("APPLICATION_NAME=ledger", "boots", "variable-repeated"),
    ] {
        room.write("bad.env", format!("{LEDGER}{line}\n"));
        let report = check(&room, &["--env-file", "bad.env"]);
        assert_eq!(
            report["environments"][0]["verdict"], verdict,
            "{line} {report:#}"
        );
        assert!(rules(&report).contains(&rule), "{line} {report:#}");
        assert_eq!(report["clean"], false);
    }
    room.write("bad.env", format!("{LEDGER}MULTI_TENANT_CACHE_TTL_SEC=0\n"));
    let output = room
        .run(["env", "check", "bad.env", "--fail-on", "critical"])
        .success();
    assert!(
        output.stdout.contains("boots (BYOC multi-tenant)"),
        "{output}"
    );
    assert!(
        output.stdout.contains("high[cache-never-expires]"),
        "{output}"
    );
    assert!(output.stdout.contains("remedy: "), "{output}");
    let all = room.run(["env", "check", "ledger.env", "--all"]).success();
    assert!(all.stdout.contains("info[pools-not-limitable]"), "{all}");
}

#[test]
fn every_kind_of_input_gives_the_same_verdict() {
    let room = Sandbox::new();
    room.write("ledger.env", LEDGER);
    let pairs: Vec<(&str, &str)> = LEDGER
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let map = |indent: &str| -> String {
        pairs.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{indent}{name}: \"{value}\"");
            text
        })
    };
    room.write(
        "compose.yaml",
        format!(
            "services:\n  db: {{image: postgres}}\n  ledger:\n    environment:\n{}",
            map("      ")
        ),
    );
    room.write(
        "file.yaml",
        "services: {app: {image: lerianstudio/midaz-ledger, env_file: ledger.env}}",
    );
    room.write(
        "map.yaml",
        format!(
            "kind: ConfigMap\nmetadata: {{name: ledger}}\ndata:\n{}",
            map("  ")
        ),
    );
    room.write(
        "values.yaml",
        format!("ledger:\n  extraEnvVars:\n{}", map("    ")),
    );
    for arguments in [
        &["ledger.env"][..],
        &["--compose", "compose.yaml"],
        &["--compose", "compose.yaml", "--component", "ledger"],
        &["--compose", "file.yaml"],
        &["--k8s", "map.yaml"],
        &["--helm", "values.yaml"],
    ] {
        let report = check(&room, arguments);
        let environments = report["environments"].as_array().unwrap();
        assert_eq!(environments.len(), 1, "{arguments:?} {report:#}");
        assert_eq!(
            environments[0]["verdict"], "boots",
            "{arguments:?} {report:#}"
        );
        assert_eq!(
            environments[0]["tenancy"], "byoc-multi-tenant",
            "{arguments:?}"
        );
        assert_eq!(report["clean"], true, "{arguments:?} {report:#}");
    }
    let piped = room.run_with_input(["env", "check", "-"], LEDGER).success();
    without_secrets(&piped);
    let kernel = LEDGER.replace('\n', "\0");
    room.run_with_input(["env", "check", "-"], kernel).success();
    // In a product's container nothing needs to be said.
    let mut own = Sandbox::new();
    for (name, value) in &pairs {
        own.set(name, value);
    }
    let output = own.run(["env", "check"]).success();
    assert!(output.stdout.contains("this environment"), "{output}");
    without_secrets(&output);
}

#[test]
fn a_running_process_is_looked_at() {
    let room = Sandbox::new();
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .env_clear()
        .envs(LEDGER.lines().filter_map(|line| line.split_once('=')))
        .env("PLUGIN_AUTH_HOST", "")
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    // `spawn` returns when the program was replaced, so the environment is the new one.
    let report = check(&room, &["--pid", &pid]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(report["environments"][0]["verdict"], "boots-insecurely");
    let gone = room
        .run(["env", "check", "--pid", "4294967294", "--product", "ledger"])
        .exits(5);
    assert!(gone.stderr.contains("input.no_process"), "{gone}");
}

#[test]
fn products_together_must_agree() {
    let room = Sandbox::new();
    room.write("ledger.env", LEDGER);
    let tracer = "CEL_COST_LIMIT=1\nENV_NAME=staging\nDEPLOYMENT_MODE=byoc\nDB_HOST=pg\nDB_SSL_MODE=require\n\
        MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm.example/\nMULTI_TENANT_SERVICE_API_KEY=hunter3\n\
        MULTI_TENANT_REDIS_HOST=redis\nMULTI_TENANT_REDIS_PORT=6380\nPLUGIN_AUTH_ENABLED=true\nPLUGIN_AUTH_ADDRESS=http://plugin-auth:4000\n";
    room.write("tracer.env", tracer);
    let report = check(
        &room,
        &["--env-file", "ledger.env", "--env-file", "tracer.env"],
    );
    let found: Vec<&str> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["rule"].as_str().unwrap())
        .collect();
    assert_eq!(
        found,
        ["differ-redis", "differ-environment", "differ-api-key"],
        "{report:#}"
    );
    let text = room
        .run([
            "env",
            "check",
            "--env-file",
            "ledger.env",
            "--env-file",
            "tracer.env",
        ])
        .exits(3);
    assert!(text.stdout.contains("between them"), "{text}");
    without_secrets(&text);
    for format in ["jsonl", "csv", "yaml", "name"] {
        let output = room
            .run([
                "env",
                "check",
                "--env-file",
                "ledger.env",
                "--env-file",
                "tracer.env",
                "-o",
                format,
            ])
            .exits(3);
        assert!(output.stdout.contains("differ-redis"), "{output}");
        without_secrets(&output);
    }
    let odd = room
        .run([
            "env",
            "check",
            "ledger.env",
            "--product",
            "ledger",
            "--product",
            "crm",
        ])
        .exits(2);
    assert!(odd.stderr.contains("env.products"), "{odd}");
}

#[test]
fn connections_are_counted() {
    let room = Sandbox::new();
    room.write("ledger.env", LEDGER);
    let count = |tenants: &str, limit: &str| {
        let flags = [
            "ledger.env",
            "--tenants",
            tenants,
            "--replicas",
            "3",
            "--max-connections",
            limit,
        ];
        check(&room, &flags)
    };
    let much = count("10", "500");
    let budget = &much["environments"][0]["budget"];
    assert_eq!(
        budget["connections"].as_i64().unwrap() - budget["staticConnections"].as_i64().unwrap(),
        3000
    );
    assert_eq!(budget["allowed"], 400);
    assert!(rules(&much).contains(&"budget-exceeded"));
    assert!(!rules(&count("10", "5000")).contains(&"budget-exceeded"));
}

#[test]
fn a_block_that_was_written_is_accepted_and_keeps_its_secrets() {
    let room = Sandbox::new();
    room.write("key", "hunter2\n");
    room.write(
        ".config/lerianctl/config.toml",
        "version = 1\ncurrent-context = \"a\"\n[context.a]\nserver = \"https://tm.example\"\nenvironment = \"staging\"\n\
         api-key = { file = \"~/key\" }\nredis = { host = \"redis.example\", port = 6380, tls = true }\n",
    );
    for product in [
        "ledger",
        "ledger-4",
        "crm",
        "tracer",
        "fetcher-manager",
        "fetcher-worker",
        "matcher",
        "reporter",
        "fees",
    ] {
        for (format, flag) in [
            ("dotenv", None),
            ("helm", Some("--helm")),
            ("compose", Some("--compose")),
            ("k8s", Some("--k8s")),
        ] {
            let block = room
                .run(["env", "render", "--product", product, "--format", format])
                .success();
            without_secrets(&block);
            for text in ["https://tm.example", "staging"] {
                assert!(block.stdout.contains(text), "{block}");
            }
            room.write("block", &block.stdout);
            let mut arguments = vec!["--product", product];
            arguments.extend(flag);
            arguments.push("block");
            let report = check(&room, &arguments);
            let environment = &report["environments"][0];
            assert_eq!(environment["verdict"], "boots", "{block}{report:#}");
            assert_eq!(environment["tenancy"], "byoc-multi-tenant", "{block}");
        }
    }
    let call = ["env", "render", "--product", "tracer", "--show-secrets"];
    let refused = room.run(call).exits(10);
    without_secrets(&refused);
    let shown = room.run([&call[..], &["--yes"]].concat()).success();
    assert!(
        shown
            .stdout
            .contains("MULTI_TENANT_SERVICE_API_KEY=hunter2"),
        "{shown}"
    );
    let http = [
        "env",
        "render",
        "--product",
        "ledger",
        "--server",
        "http://127.0.0.1:1",
        "--environment",
        "production",
    ];
    let refused = room.run(http).exits(2);
    assert!(refused.stderr.contains("env.refused"), "{refused}");
    let document = room
        .run([&call[..4], &["-o", "json"]].concat())
        .success()
        .json();
    assert_eq!(document["kind"], "EnvBlock");
}

#[test]
fn rules_variables_and_products_are_explained() {
    let room = Sandbox::new();
    let rule = room
        .run(["env", "explain", "critical[auth-address-empty]:"])
        .success();
    assert!(rule.stdout.contains("checks no token at all"), "{rule}");
    let variable = room
        .run(["env", "explain", "MULTI_TENANT_CACHE_TTL_SEC"])
        .success();
    assert!(
        variable.stdout.contains("Public documentation"),
        "{variable}"
    );
    for name in ["auth-address-empty", "MULTI_TENANT_URL", "ledger"] {
        let document = room
            .run(["env", "explain", name, "-o", "json"])
            .success()
            .json();
        assert_eq!(document["kind"], "EnvExplanation");
    }
    room.run(["env", "explain", "-o", "json"]).success().json();
    let unknown = room.run(["env", "explain", "auth-adress-empty"]).exits(5);
    assert!(unknown.stderr.contains("auth-address-empty"), "{unknown}");
}

#[test]
fn hostile_files_are_refused_or_read_and_never_repeated() {
    let room = Sandbox::new();
    room.write("bomb.yaml", {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..30 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            let _ = writeln!(text, "a{level}: &a{level} [{items}]");
        }
        text + "services: {ledger: {environment: {A: hunter}}}\n"
    });
    room.write("binary", [0, 1, 2, 0xff, 0xfe, 0]);
    room.write("latin1", b"A=\xe9\n");
    room.write("huge", "A=hunter\n".repeat(200_000));
    room.write("secret.yaml", "services: [hunter: \"\n");
    std::fs::create_dir(room.home().join("folder")).unwrap();
    for arguments in [
        &["--compose", "bomb.yaml"][..],
        &["--helm", "bomb.yaml"],
        &["--k8s", "bomb.yaml"],
        &["binary"],
        &["latin1"],
        &["--compose", "latin1"],
        &["huge"],
        &["folder"],
        &["none"],
        &["--compose", "secret.yaml"],
        &["--k8s", "secret.yaml"],
    ] {
        let call = [&["env", "check", "--product", "ledger"], arguments].concat();
        let output = room.run(call).exits(2);
        without_secrets(&output);
        assert!(output.stderr.len() < 1_000, "{output}");
        assert!(output.stdout.is_empty(), "{output}");
    }
    // Carriage returns, `export`, quotes and a byte order mark are nothing special.
    let windows = format!(
        "\u{feff}{}",
        LEDGER
            .replace('\n', "\r\n")
            .replace("ENV_NAME=", "export ENV_NAME=")
    );
    room.write(
        "windows.env",
        windows.replace("=https://tm.example", "=\"https://tm.example\""),
    );
    assert_eq!(check(&room, &["windows.env"])["clean"], true);
    // What a terminal would obey is not passed on.
    room.write(
        "escape.env",
        format!("{LEDGER}ENV_NAME=\u{1b}[31mprod\u{7}\n"),
    );
    let output = room.run(["env", "check", "escape.env"]).exits(3);
    assert!(!output.stdout.contains(['\u{1b}', '\u{7}']), "{output}");
}
