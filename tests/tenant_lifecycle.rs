//! A tenant's life through the real binary: create, list, show, update, suspend, rotate, purge.

use serde_json::Value;

use crate::support::{Postgres, Redis, Sandbox, ServerProcess};

fn start() -> ServerProcess {
    ServerProcess::start(
        &Postgres::shared().endpoint(),
        Some(&Redis::shared().endpoint()),
    )
}

fn get(server: &ServerProcess, path: &str) -> (u16, Value) {
    let url = format!("{}{path}", server.url());
    let key = server.api_key().expose().to_owned();
    crate::support::block_on(async move {
        lerianctl::link::tls::install();
        let answer = reqwest::Client::new()
            .get(url)
            .header("X-API-Key", key)
            .send()
            .await
            .expect("the server answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    })
}

fn show(room: &Sandbox, tenant: &str) -> Value {
    room.run(["tenant", "show", tenant, "-o", "json"])
        .success()
        .json()
}

#[test]
fn a_tenant_lives_and_dies() {
    let server = start();
    let room = server.room();

    // A dry run changes nothing and prints the plan.
    let create = [
        "tenant",
        "create",
        "Banco Aurora",
        "--service",
        "ledger",
        "--service",
        "tracer",
        "--metadata",
        "plan=gold",
        "--owner-email",
        "owner@aurora.example",
    ];
    let dry = room.run(create.iter().chain(&["--dry-run"])).success();
    assert!(dry.stdout.contains("plan: sha256:"), "{dry}");
    room.run(["tenant", "show", "banco-aurora"]).exits(5);

    // Create: everything in one go; the same again changes nothing; another spec is refused.
    let created = room
        .run(create.iter().chain(&["-o", "json"]))
        .success()
        .json();
    assert_eq!(created["kind"], "Change");
    assert_eq!(created["changed"], true);
    assert_eq!(created["operation"]["state"], "succeeded", "{created:#}");
    let again = room
        .run(create.iter().chain(&["-o", "json"]))
        .success()
        .json();
    assert_eq!(again["changed"], false);
    room.run(create.iter().chain(&["--fail-if-exists"]))
        .exits(6);
    let other = room
        .run([
            "tenant",
            "create",
            "Banco Aurora",
            "--metadata",
            "plan=silver",
        ])
        .exits(6);
    assert!(other.stderr.contains("metadata"), "{other}");

    let tenant = show(&room, "banco-aurora");
    let id = tenant["id"].as_str().expect("an id").to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(tenant["services"].as_array().map(Vec::len), Some(2));
    let human = room.run(["tenant", "show", "banco-aurora"]).success();
    assert!(
        human.stdout.contains("not provisioned for ledger"),
        "{human}"
    );
    assert!(human.stdout.contains("onboarding/mongodb"), "{human}");

    // What a product sees; by either spelling of the id.
    let path = format!("/v1/tenants/{id}/associations/tracer/connections");
    let (status, config) = get(&server, &path);
    assert_eq!(
        (status, &config["isolationMode"]),
        (200, &"isolated".into())
    );
    let dashed = uuid::Uuid::parse_str(&id).expect("a UUID").to_string();
    let (status, same) = get(
        &server,
        &format!("/v1/tenants/{dashed}/associations/tracer/connections"),
    );
    assert_eq!((status, same), (200, config));

    // Lists in every form.
    let names = room.run(["tenant", "list", "-o", "name"]).success();
    assert!(names.stdout.lines().any(|line| line == "banco-aurora"));
    let csv = room.run(["tenant", "list", "-o", "csv"]).success();
    assert!(csv.stdout.starts_with("slug,id,status,"), "{csv}");
    let lines = room
        .run(["tenant", "list", "-o", "jsonl"])
        .success()
        .json_lines();
    assert_eq!(lines.last().expect("a summary")["kind"], "Summary");
    let columns = room
        .run(["tenant", "list", "--columns", "status,slug", "--no-headers"])
        .success();
    assert!(columns.stdout.contains("active  banco-aurora"), "{columns}");
    room.run(["tenant", "list", "--columns", "nonsense"])
        .exits(2);

    // Update.
    room.run(["tenant", "update", "banco-aurora", "--name", "Aurora S.A."])
        .success();
    let updated = room
        .run([
            "tenant",
            "update",
            "banco-aurora",
            "--name",
            "Aurora S.A.",
            "-o",
            "json",
        ])
        .success()
        .json();
    assert_eq!(updated["changed"], false);
    assert_eq!(show(&room, "banco-aurora")["name"], "Aurora S.A.");
    room.run(["tenant", "update", "banco-aurora"]).exits(2);

    // The login is proved, not assumed.
    let verified = room
        .run(["db", "verify", "banco-aurora", "-o", "json"])
        .success()
        .json();
    assert_eq!(verified["holds"], true, "{verified:#}");
    let list = room
        .run(["db", "list", "--tenant", "banco-aurora", "-o", "json"])
        .success()
        .json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));

    // Suspend needs consent, and closes every service.
    let refused = room.run(["tenant", "suspend", "banco-aurora"]).exits(10);
    assert!(refused.stderr.contains("--yes"), "{refused}");
    room.run(["tenant", "suspend", "banco-aurora", "--yes"])
        .success();
    let (status, body) = get(&server, &path);
    assert_eq!((status, &body["status"]), (403, &"suspended".into()));
    let again = room
        .run(["tenant", "suspend", "banco-aurora", "--yes", "-o", "json"])
        .success()
        .json();
    assert_eq!(again["changed"], false);
    room.run(["tenant", "reactivate", "banco-aurora"]).success();
    assert_eq!(get(&server, &path).0, 200);

    // Services, one at a time.
    room.run([
        "service",
        "suspend",
        "tracer",
        "--tenant",
        "banco-aurora",
        "--yes",
    ])
    .success();
    assert_eq!(get(&server, &path).0, 403);
    room.run([
        "service",
        "reactivate",
        "tracer",
        "--tenant",
        "banco-aurora",
    ])
    .success();
    let services = room
        .run(["service", "list", "--tenant", "banco-aurora", "-o", "name"])
        .success();
    assert_eq!(services.stdout, "ledger\ntracer\n");

    // Rotate: the password that is handed out changes, and the operation is listed.
    let before = get(&server, &path).1["databases"]["tracer"]["postgresql"].clone();
    room.run([
        "tenant",
        "rotate",
        "banco-aurora",
        "--service",
        "tracer",
        "--yes",
    ])
    .success();
    let after = get(&server, &path).1["databases"]["tracer"]["postgresql"].clone();
    assert_ne!(before["username"], after["username"]);
    assert_ne!(before["password"], after["password"]);
    let operations = room
        .run([
            "operation",
            "list",
            "--tenant",
            "banco-aurora",
            "-o",
            "json",
        ])
        .success()
        .json();
    let rotate = operations["items"]
        .as_array()
        .expect("operations")
        .iter()
        .find(|operation| operation["kind"] == "rotate")
        .expect("the rotation");
    let rotate = rotate["id"].as_str().expect("an id");
    room.run(["operation", "wait", rotate]).success();
    room.run(["operation", "show", rotate]).success();

    // Purge wants the slug, not just a yes.
    room.run(["tenant", "purge", "banco-aurora", "--yes"])
        .exits(10);
    room.run([
        "tenant",
        "purge",
        "banco-aurora",
        "--yes",
        "--confirm",
        "other",
    ])
    .exits(10);
    room.run([
        "tenant",
        "purge",
        "banco-aurora",
        "--yes",
        "--confirm",
        "banco-aurora",
    ])
    .success();
    let (status, body) = get(&server, &path);
    assert_eq!((status, &body["status"]), (403, &"purged".into()));
    let gone = room
        .run(["db", "list", "--tenant", "banco-aurora", "-o", "json"])
        .success()
        .json();
    assert_eq!(gone["items"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_owners_password_leaves_only_as_a_hash() {
    let server = start();
    let room = server.room();
    let arguments = [
        "tenant",
        "create",
        "Sol",
        "--owner-email",
        "owner@sol.example",
        "--owner-password-file",
        "-",
    ];
    let output = room
        .run_with_input(arguments, "correct horse battery staple\n")
        .success();
    assert!(!output.stdout.contains("horse") && !output.stderr.contains("horse"));
    // Again with another salt: the same tenant, nothing to do.
    let again = room
        .run_with_input(
            arguments.iter().chain(&["-o", "json"]),
            "correct horse battery staple\n",
        )
        .success()
        .json();
    assert_eq!(again["changed"], false);
    for (password, why) in [
        ("", "empty"),
        (&"x".repeat(73) as &str, "too long for bcrypt"),
    ] {
        let output = room.run_with_input(
            [
                "tenant",
                "create",
                "Lua",
                "--owner-email",
                "o@lua.example",
                "--owner-password-file",
                "-",
            ],
            password,
        );
        assert!(output.exits(2).stderr.contains("bcrypt"), "{why}");
    }
    let prompt = room.run([
        "tenant",
        "create",
        "Lua",
        "--owner-email",
        "o@l.example",
        "--ask-owner-password",
    ]);
    assert!(prompt.exits(2).stderr.contains("terminal"));
}

#[test]
fn every_word_of_a_name_survives_and_none_is_run() {
    let server = start();
    let room = server.room();
    for (number, name) in [
        "O'Brien \"& Sons\"",
        "Robert'); DROP TABLE tenants;--",
        "😀 Café ñ 漢字",
        "$(reboot) `id`",
        "../../etc/passwd",
        "a%00b%2Fc",
        "-- --help",
    ]
    .iter()
    .enumerate()
    {
        let slug = format!("hostile-{number}");
        room.run([
            "tenant",
            "create",
            "--slug",
            &slug,
            "--service",
            "tracer",
            "--",
            name,
        ])
        .success();
        assert_eq!(show(&room, &slug)["name"], *name);
    }
    let long = "x".repeat(10_000);
    let output = room.run(["tenant", "create", &long]).exits(2);
    assert!(output.stderr.contains("256"), "{output}");
    let output = room.run(["tenant", "create", "bell\u{7}"]).exits(2);
    assert!(output.stderr.contains("control"), "{output}");
    let output = room.run(["tenant", "create", "T", "--service", "nonsense"]);
    assert_eq!(output.status, Some(2), "{output}");
    assert!(
        output.stderr.contains("tracer"),
        "names the known services\n{output}"
    );
}

#[test]
fn schema_mode_is_refused_where_a_product_cannot_run_in_it() {
    let server = start();
    let room = server.room();
    let create = [
        "tenant",
        "create",
        "Esquema",
        "--service",
        "tracer",
        "--isolation",
        "schema",
    ];
    let output = room.run(create).exits(2);
    assert_eq!(
        output.stderr.matches("000010 fails elsewhere").count(),
        1,
        "says why, once\n{output}"
    );
    assert!(
        output.stderr.contains("--force"),
        "says what to do\n{output}"
    );
    room.run(["tenant", "show", "esquema"]).exits(5);
    room.run(create.iter().chain(&["--force"])).success();
    let tenant = show(&room, "esquema");
    let database = &tenant["services"][0]["databases"][0];
    assert_eq!(database["isolationMode"], "schema");
    assert!(database["schema"].is_string());
}

#[test]
fn a_wrong_key_and_an_absent_server_are_told_apart() {
    let server = start();
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", "not-the-key-that-was-made");
    let output = room.run(["tenant", "list"]).exits(4);
    assert!(!output.stderr.contains("not-the-key"), "{output}");
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", "http://127.0.0.1:9")
        .with("LERIANCTL_API_KEY", "whatever-it-may-be");
    room.run(["tenant", "list", "--timeout", "10s"]).exits(7);
}
