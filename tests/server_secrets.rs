//! No known secret stands in anything that a server ever wrote, in any of its usual spellings.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use lerianctl::secret::Secret;
use lerianctl::server::{RegistryPlace, write_archive};
use serde_json::{Value, json};

use crate::server_kit::{Caller, path, slug};
use crate::support::{Postgres, Redis, ServerProcess, block_on};

/// A secret, and what to call it when it is found.
struct Known {
    name: String,
    text: String,
}

/// Something that the server wrote, or that can be seen of it.
struct Piece {
    place: String,
    bytes: Vec<u8>,
}

/// Returns the spellings of a secret: as it is, base64 in every alignment and alphabet, hex,
/// percent-encoded, as JSON and as SQL write it.
fn spellings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    use std::fmt::Write as _;
    let mut found = vec![("raw", secret.as_bytes().to_vec())];
    for shift in 0..3 {
        let mut bytes = vec![0_u8; shift];
        bytes.extend(secret.as_bytes());
        // What stands before and behind changes the characters at the edges.
        let first = (shift * 8).div_ceil(6);
        let whole = bytes.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&bytes);
            found.push(("base64", text.as_bytes()[first..whole].to_vec()));
        }
    }
    found.push(("base64", STANDARD.encode(secret).into_bytes()));
    let hex = secret.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    found.push(("hex", hex.to_uppercase().into_bytes()));
    found.push(("hex", hex.into_bytes()));
    let percent = |keep: &dyn Fn(u8) -> bool| {
        secret.bytes().fold(String::new(), |mut text, byte| {
            if keep(byte) {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
            text
        })
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    found.push(("percent", percent(&unreserved).into_bytes()));
    found.push((
        "percent",
        percent(&|byte| byte.is_ascii_alphanumeric()).into_bytes(),
    ));
    let json = serde_json::to_string(secret).unwrap();
    found.push(("JSON", json.trim_matches('"').as_bytes().to_vec()));
    found.sort();
    found.dedup_by(|a, b| a.1 == b.1);
    found
}

/// Returns what was found: secret, spelling, place.
fn search(pieces: &[Piece], known: &[Known]) -> Vec<String> {
    let mut found = Vec::new();
    for Known { name, text } in known {
        assert!(text.len() >= 8, "{name} is too short to be searched for");
        for (spelling, needle) in spellings(text) {
            for piece in pieces {
                if contains(&piece.bytes, &needle) {
                    found.push(format!("{name} ({spelling}) in {}", piece.place));
                }
            }
        }
    }
    found
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    // The first byte is looked for first: a window at a time is slow in a build for tests.
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// Takes every file below `folder` but those that this test wrote itself.
fn files(folder: &Path, own: &[&str], when: &str, pieces: &mut Vec<Piece>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, own, when, pieces);
        } else if !own.contains(&entry.file_name().to_str().unwrap())
            && let Ok(bytes) = std::fs::read(&path)
        {
            let place = format!("{} ({when})", path.display());
            pieces.push(Piece { place, bytes });
        }
    }
}

/// Takes what anybody on the machine sees of the process and of its children.
fn processes(id: u32, pieces: &mut Vec<Piece>) {
    for entry in std::fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1))
            .and_then(|parent| parent.parse::<u32>().ok());
        if pid != id && parent != Some(id) {
            continue;
        }
        // The server's own environment is what this test gave it; a child's is the server's doing.
        let mut seen = vec!["cmdline", "status", "comm"];
        if pid != id {
            seen.push("environ");
        }
        for what in seen {
            let bytes = std::fs::read(entry.path().join(what)).unwrap_or_default();
            let place = format!("/proc/{pid}/{what}");
            pieces.push(Piece { place, bytes });
        }
    }
}

/// What an answer shows.
fn answer(place: &str, answer: &crate::server_kit::Answer) -> Piece {
    let mut bytes = answer.text.clone().into_bytes();
    for (name, value) in &answer.headers {
        bytes.extend(name.as_str().bytes());
        bytes.extend(value.as_bytes());
    }
    Piece {
        place: format!("the answer to {place}"),
        bytes,
    }
}

fn passwords(connections: &Value) -> Vec<String> {
    let modules = connections["databases"].as_object().unwrap();
    modules
        .values()
        .map(|module| {
            module["postgresql"]["password"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

/// Does what servers are asked to do; returns answers and passwords.
async fn live(caller: &Caller, hash: &str, clear: &str) -> (Vec<Piece>, Vec<String>) {
    let mut pieces = Vec::new();
    let mut found = Vec::new();
    let name = slug("secrets");
    let owner = json!({ "email": "ada@example.com", "passwordHash": hash, "emailVerified": true });
    let mut body = json!({
        "name": name, "slug": name, "environment": "production", "isolationMode": "database",
        "services": ["ledger"], "force": true, "owner": owner,
    });
    let made = caller.post("/v1/admin/tenants", &body).await;
    pieces.push(answer("a create", &made));
    let change = made.expect(201);
    caller.succeeds(&change).await;
    let tenant = change["tenant"].clone();
    found.extend(passwords(
        &caller.connections(&tenant, "ledger").await.expect(200),
    ));
    // Refusals of every kind.
    body["owner"]["passwordHash"] = json!(clear);
    let refused = caller.post("/v1/admin/tenants", &body).await;
    refused.refusal(422, "request.invalid");
    pieces.push(answer("a password in clear", &refused));
    body["owner"]["passwordHash"] = json!(hash);
    body["name"] = json!("Another name");
    let conflict = caller.post("/v1/admin/tenants", &body).await;
    conflict.refusal(409, "tenant.conflict");
    pieces.push(answer("a conflict", &conflict));
    let stranger = caller.with_key(clear);
    pieces.push(answer("a wrong key", &stranger.get("/v1/admin/info").await));
    // New credentials at once, and what is left of the old ones.
    let rotate = json!({ "graceSeconds": 0 });
    let rotated = caller.post(&path(&tenant, "/rotate"), &rotate).await;
    pieces.push(answer("a rotation", &rotated));
    caller.succeeds(&rotated.expect(200)).await;
    found.extend(passwords(
        &caller.connections(&tenant, "ledger").await.expect(200),
    ));
    pieces.push(answer(
        "a rekey",
        &caller.post("/v1/admin/rekey", &json!({})).await,
    ));
    pieces.push(answer(
        "a proof",
        &caller.post(&path(&tenant, "/verify"), &json!({})).await,
    ));
    for read in [
        "/metrics",
        "/readyz",
        "/v1/admin/info",
        "/v1/admin/rekey",
        "/v1/admin/audit?limit=1000",
        "/v1/admin/operations?limit=1000",
        "/v1/admin/databases",
        "/v1/admin/tenants",
        "/v1/admin/nothing",
    ] {
        pieces.push(answer(read, &caller.get(read).await));
    }
    (pieces, found)
}

/// Writes a backup, or an export, as the command line does.
fn backup(registry: &RegistryPlace, file: &Path, export: bool) {
    let (registry, file) = (registry.clone(), file.to_owned());
    let written = block_on(async move { write_archive(&registry, &file, export).await });
    assert!(
        written
            .unwrap()
            .iter()
            .any(|table| table.table == "credentials" && table.rows > 0)
    );
}

#[test]
fn no_secret_is_written_anywhere() {
    let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let clear = format!("in clear: {}/+", Secret::generate().expose());
    let previous = Secret::generate();
    let next = Secret::generate();
    let (postgres, redis) = (Postgres::shared().endpoint(), Redis::shared().endpoint());
    // The command that gives the key writes down what it was given.
    let script = "#!/bin/sh\nenv >> \"$HOME/given.txt\"\ntr '\\0' '\\n' < /proc/$$/cmdline >> \"$HOME/given.txt\"\ncat \"$HOME/next.key\"\n";
    let mut process = ServerProcess::start_in(&postgres, Some(&redis), |room| {
        room.set("LERIANCTL_LOG", "trace");
        room.set("TMPDIR", room.home().join("temporary"));
        std::fs::create_dir(room.home().join("temporary")).unwrap();
        room.write("master.key", previous.expose());
        room.write("next.key", next.expose());
        let command = room.write("give-key", script);
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o700)).unwrap();
        vec!["--master-key-file".to_owned(), "master.key".to_owned()]
    });
    let own = [
        "api.key",
        "master.key",
        "next.key",
        "postgres.url",
        "give-key",
    ];
    let mut pieces = Vec::new();
    let mut tenants = Vec::new();
    let caller =
        |process: &ServerProcess| Caller::at(process.url()).with_key(process.api_key().expose());
    let lived = block_on({
        let (caller, clear) = (caller(&process), clear.clone());
        async move { live(&caller, hash, &clear).await }
    });
    pieces.extend(lived.0);
    tenants.extend(lived.1);
    processes(process.id(), &mut pieces);
    files(process.folder(), &own, "while it runs", &mut pieces);
    process.kill();
    files(process.folder(), &own, "after a kill", &mut pieces);

    // The next start has another master key, from a command, and wraps everything with it.
    let command = process.folder().join("give-key").display().to_string();
    process.set_flags(vec![
        "--master-key-command".to_owned(),
        command,
        "--previous-master-key-file".to_owned(),
        "master.key".to_owned(),
    ]);
    process.restart();
    let lived = block_on({
        let (caller, clear) = (caller(&process), clear.clone());
        async move { live(&caller, hash, &clear).await }
    });
    pieces.extend(lived.0);
    tenants.extend(lived.1);
    processes(process.id(), &mut pieces);
    files(process.folder(), &own, "under the new key", &mut pieces);
    let registry = RegistryPlace::Sqlite(process.folder().join("registry.db"));
    backup(&registry, &process.folder().join("registry.backup"), false);
    files(process.folder(), &own, "with a backup", &mut pieces);
    let room = process.room();
    let export = room.run(["audit", "export"]).success();
    pieces.push(Piece {
        place: "the exported audit log".to_owned(),
        bytes: export.stdout.into_bytes(),
    });
    assert_eq!(process.terminate(), Some(0));
    backup(&registry, &process.folder().join("registry.export"), true);
    files(process.folder(), &own, "after the end", &mut pieces);

    let mut known: Vec<Known> = [
        ("the API key", process.api_key().expose()),
        ("the first master key", previous.expose()),
        ("the second master key", next.expose()),
        (
            "PostgreSQL's password",
            postgres.password.as_ref().unwrap().expose(),
        ),
        ("Redis' password", redis.password.as_ref().unwrap().expose()),
        ("the owner's hash", hash),
        ("the owner's password", &clear),
    ]
    .into_iter()
    .map(|(name, text)| Known {
        name: name.to_owned(),
        text: text.to_owned(),
    })
    .collect();
    assert_eq!(tenants.len(), 8, "two modules, two versions, two tenants");
    for (number, password) in tenants.into_iter().enumerate() {
        known.push(Known {
            name: format!("password {number} of a tenant"),
            text: password,
        });
    }
    // The search must be able to find: what was read holds what belongs there, and every spelling
    // of every secret is found where it is put.
    for expected in [
        "given.txt",
        "registry.db-wal",
        "registry.backup",
        "registry.export",
        "registry.db (",
        "log-1.txt",
        "log-2.txt",
    ] {
        let found = |piece: &&Piece| piece.place.contains(expected) && !piece.bytes.is_empty();
        assert!(
            pieces.iter().any(|piece| found(&piece)),
            "{expected} was not read"
        );
    }
    let trace = |piece: &&Piece| piece.place.contains("log-1") && contains(&piece.bytes, b"TRACE");
    assert!(
        pieces.iter().any(|piece| trace(&piece)),
        "the log is at trace level"
    );
    for secret in &known {
        for (spelling, needle) in spellings(&secret.text) {
            let planted = [b"before".as_slice(), &needle, b"behind"].concat();
            let planted = Piece {
                place: "a plant".to_owned(),
                bytes: planted,
            };
            let found = search(&[planted], std::slice::from_ref(secret));
            assert!(
                !found.is_empty(),
                "{} as {spelling} is not found",
                secret.name
            );
        }
    }
    let mut keys = Vec::new();
    files(process.folder(), &[], "own", &mut keys);
    let control = search(&keys, &known[..4]);
    for secret in &known[..3] {
        let found = |line: &String| line.starts_with(&secret.name);
        assert!(
            control.iter().any(found),
            "{} is in a file of its own",
            secret.name
        );
    }

    let found = search(&pieces, &known);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Returns the files below `folder` that hold any of `needles`, and which: the folder of a
/// database server is too large for a search of our own in a build for tests.
fn grep(folder: &Path, needles: &Path) -> Vec<String> {
    let output = std::process::Command::new("grep")
        .args(["-raoF", "-f"])
        .args([needles, folder])
        .env("LC_ALL", "C")
        .output()
        .expect("grep is there");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn no_secret_is_in_the_files_and_backups_of_a_registry_on_postgresql() {
    let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let clear = format!("in clear: {}/+", Secret::generate().expose());
    let postgres = Postgres::private();
    let endpoint = postgres.endpoint();
    let mut process = ServerProcess::replicas(1, &endpoint, None).remove(0);
    let caller = Caller::at(process.url()).with_key(process.api_key().expose());
    let made = block_on({
        let (caller, clear) = (caller.clone(), clear.clone());
        async move {
            let lived = live(&caller, hash, &clear).await;
            let tenants = caller.get("/v1/admin/tenants").await.expect(200);
            let slug = tenants["items"][0]["slug"].as_str().unwrap().to_owned();
            let made = json!({ "name": "deploy", "role": "operator" });
            let made = caller.post("/v1/admin/keys", &made).await.expect(201);
            let key = made["key"].as_str().unwrap().to_owned();
            (lived, slug, key)
        }
    });
    let ((pieces, tenants), slug, key) = made;
    let written = process.folder().join("written");
    std::fs::create_dir(&written).unwrap();
    let registry = RegistryPlace::Postgres {
        endpoint: endpoint.clone(),
        schema: "lerianctl".to_owned(),
    };
    backup(&registry, &written.join("backup"), false);
    let master = std::fs::read_to_string(process.folder().join("master.key")).unwrap();
    assert_eq!(process.terminate(), Some(0));
    backup(&registry, &written.join("export"), true);
    let sql = |text: String| {
        let endpoint = endpoint.clone();
        block_on(async move {
            let session = endpoint.connect().await.unwrap();
            session.batch_execute(&text).await.unwrap();
        });
    };
    // What changed is in the log ahead of the tables; now it is in both.
    sql("CHECKPOINT".into());

    let mut secrets = vec![
        process.api_key().expose().to_owned(),
        master,
        hash.to_owned(),
        clear,
        key,
    ];
    assert_eq!(tenants.len(), 4, "two modules, two versions");
    secrets.extend(tenants);
    let known: Vec<Known> = secrets
        .iter()
        .enumerate()
        .map(|(number, text)| Known {
            name: format!("secret {number}"),
            text: text.clone(),
        })
        .collect();
    let found = search(&pieces, &known);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));

    let needles = process.folder().join("needles");
    let mut lines = Vec::new();
    for (_, needle) in secrets.iter().flat_map(|secret| spellings(secret)) {
        lines.extend(needle);
        lines.push(b'\n');
    }
    std::fs::write(&needles, lines).unwrap();
    for folder in [postgres.data(), written.clone()] {
        let found = grep(&folder, &needles);
        assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    }

    // The search must be able to find: what belongs there, and a secret that is put there.
    let control = process.folder().join("control");
    std::fs::write(&control, format!("{slug}\n")).unwrap();
    let found = grep(&postgres.data(), &control);
    for part in ["/pg_wal/", "/base/"] {
        assert!(found.iter().any(|line| line.contains(part)), "{part}");
    }
    assert!(!grep(&written, &control).is_empty());
    sql(format!(
        "CREATE TABLE plant AS SELECT '{}'::text AS leak; CHECKPOINT",
        secrets.last().unwrap()
    ));
    let found = grep(&postgres.data(), &needles);
    for part in ["/pg_wal/", "/base/"] {
        assert!(found.iter().any(|line| line.contains(part)), "{part}");
    }
}
