//! Start and end of a server: keys, files, clients that hang, a registry that cannot be written.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lerianctl::secret::Secret;
use lerianctl::server::{ServerError, ServerSettings, serve};
use serde_json::json;

use crate::server_kit::{Caller, path, slug};
use crate::support::{Postgres, Server, ServerProcess, block_on, cluster};

fn settings(folder: &tempfile::TempDir) -> ServerSettings {
    Server::settings(
        folder.path(),
        vec![cluster("main", Postgres::shared())],
        None,
    )
}

/// Starts a server that must not start.
async fn refused(settings: ServerSettings) -> ServerError {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = serve(listener, settings, std::future::pending());
    tokio::time::timeout(Duration::from_mins(1), served)
        .await
        .expect("it does not start")
        .unwrap_err()
}

#[tokio::test]
async fn another_master_key_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    let master = Secret::generate();
    settings.master_key = master.clone().into();
    let server = Server::serve(settings.clone());
    let tenant = Caller::new(&server).tenant(&["tracer"], "database").await;
    let before = Caller::new(&server)
        .connections(&tenant, "tracer")
        .await
        .expect(200);
    server.stop();

    let mut other = settings.clone();
    other.master_key = Secret::generate().into();
    let error = refused(other.clone()).await;
    assert!(matches!(error, ServerError::MasterKey(_)), "{error}");
    other.master_key = Secret::new("short").into();
    assert!(matches!(refused(other).await, ServerError::MasterKey(_)));

    let server = Server::serve(settings.clone());
    let after = Caller::new(&server).connections(&tenant, "tracer").await;
    assert_eq!(after.expect(200), before);
    server.stop();

    // Nothing that opens a database, and no key, lies in the file in clear.
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    let password = &before["databases"]["tracer"]["postgresql"]["password"];
    assert!(!holds(password.as_str().unwrap()));
    assert!(!holds(settings.api_keys[0].expose()));
    assert!(!holds(master.expose()));
    assert!(holds(tenant["id"].as_str().unwrap()), "the file was read");
}

#[tokio::test]
async fn a_registry_belongs_to_one_server_of_a_version_that_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder);
    let server = Server::serve(settings.clone());
    let error = refused(settings.clone()).await;
    assert!(error.to_string().contains("another server"), "{error}");
    server.stop();

    let path = folder.path().join("registry.sqlite");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute(
        "INSERT INTO schema_migrations VALUES (99, 'later', '', '')",
        [],
    )
    .unwrap();
    drop(file);
    let error = refused(settings.clone()).await;
    assert!(error.to_string().contains("newer"), "{error}");
    std::fs::write(&path, "not a database at all").unwrap();
    assert!(matches!(
        refused(settings).await,
        ServerError::Registry { .. }
    ));
}

#[tokio::test]
async fn api_keys_are_kept_until_others_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    let first = settings.api_keys[0].clone();
    Server::serve(settings.clone()).stop();

    settings.api_keys = Vec::new();
    let asked = serve_for(settings.clone(), async |caller: Caller| {
        caller
            .with_key(first.expose())
            .get("/v1/admin/info")
            .await
            .expect(200);
    });
    asked.await;

    settings.api_keys = vec![Secret::generate(), Secret::generate()];
    let server = Server::serve(settings.clone());
    let caller = Caller::new(&server);
    for key in &settings.api_keys {
        let info = caller.with_key(key.expose()).get("/v1/admin/info").await;
        assert_eq!(info.expect(200)["development"], false);
    }
    caller
        .with_key(first.expose())
        .get("/v1/admin/info")
        .await
        .refusal(401, "auth.invalid_key");
    server.stop();
}

/// Serves while `work` runs.
async fn serve_for(settings: ServerSettings, work: impl AsyncFnOnce(Caller)) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, settings, async {
        let _ = stopped.await;
    }));
    work(Caller::at(&url)).await;
    drop(stop);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn clients_that_hang_do_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    settings.drain = Duration::from_secs(1);
    let server = Server::serve(settings);
    let address = server.url().replace("http://", "");
    // One that never finishes its head, one its body, one that keeps an idle connection.
    let mut silent = TcpStream::connect(&address).unwrap();
    silent.write_all(b"GET /healthz HT").unwrap();
    let mut slow = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /v1/tenants HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Length: 100\r\n\r\n{{",
        server.api_key().expose()
    );
    slow.write_all(head.as_bytes()).unwrap();
    let mut idle = TcpStream::connect(&address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");

    let begun = Instant::now();
    server.stop();
    // Without the cut it would be for ever; the bound leaves room for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(30));
    for mut client in [silent, slow, idle] {
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut rest = Vec::new();
        // The end of the stream or a reset: either way it is over.
        let ended = client.read_to_end(&mut rest);
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn while_the_registry_cannot_be_written_changes_are_refused_and_reads_go_on() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["reporter"], "database").await;
    // Another process that holds the file for itself.
    let file = rusqlite::Connection::open(server.registry()).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let suspend = path(&tenant, "/suspend");
    let refused = caller.post(&suspend, &json!({})).await;
    refused.refusal(503, "registry.unavailable");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(caller.connections(&tenant, "reporter").await.status, 200);
    assert_eq!(caller.get(&path(&tenant, "")).await.status, 200);
    caller.readiness_becomes(503).await;
    let body =
        json!({ "name": slug("late"), "environment": "staging", "isolationMode": "database" });
    caller
        .post("/v1/admin/tenants", &body)
        .await
        .refusal(503, "registry.unavailable");

    file.execute_batch("ROLLBACK").unwrap();
    let change = caller.post(&suspend, &json!({})).await.expect(200);
    assert_eq!(change["changed"], true);
    caller.readiness_becomes(200).await;
    caller.post("/v1/admin/tenants", &body).await.expect(201);
    let figures = caller.get("/metrics").await.text;
    assert!(
        !figures.contains("lerianctl_registry_errors_total 0"),
        "{figures}"
    );
}

#[tokio::test]
async fn a_development_server_shows_its_key_set_and_others_have_none() {
    let keys = json!({ "keys": [{ "kty": "RSA", "kid": "dev" }] });
    let server = Server::start_with(|settings| settings.development_jwks = Some(keys.clone()));
    let caller = Caller::new(&server).with_key("");
    assert_eq!(caller.get("/.well-known/jwks.json").await.expect(200), keys);
    let server = Server::start();
    let caller = Caller::new(&server);
    caller
        .get("/.well-known/jwks.json")
        .await
        .refusal(404, "route.development");
    let info = caller.get("/v1/admin/info").await.expect(200);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let services = caller.get("/v1/admin/services").await.expect(200);
    assert_eq!(
        services["tracer"]["modules"],
        json!({ "tracer": ["postgresql"] })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_key_is_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(settings(&folder));
    let root = Caller::new(&server);
    let request = root
        .request("POST", "/v1/admin/keys")
        .header("Idempotency-Key", "once")
        .json(&json!({ "name": "reader", "role": "read-only" }));
    let made = Caller::send(request).await.expect(201);
    root.with_key(made["key"].as_str().unwrap())
        .get("/v1/admin/info")
        .await
        .expect(200);
    server.stop();

    let mut bytes = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    let secret = made["key"].as_str().unwrap().rsplit('_').next().unwrap();
    assert!(
        holds(made["record"]["id"].as_str().unwrap()),
        "the file was read"
    );
    assert!(!holds(secret));
}

#[test]
fn the_master_key_comes_from_a_variable_a_file_or_a_command() {
    let key = Secret::generate();
    let mut process = ServerProcess::start_in(&Postgres::shared().endpoint(), None, |room| {
        room.set("LERIANCTL_SERVER_MASTER_KEY", key.expose());
        Vec::new()
    });
    let tenant = block_on({
        let caller = Caller::at(process.url()).with_key(process.api_key().expose());
        async move { caller.tenant(&["tracer"], "schema").await }
    });
    let file = process.folder().join("kept.key");
    std::fs::write(&file, key.expose()).unwrap();
    let file = file.display().to_string();
    for flags in [
        ["--master-key-file".to_owned(), file.clone()],
        ["--master-key-command".to_owned(), format!("cat {file}")],
    ] {
        assert_eq!(process.terminate(), Some(0));
        // What is named on the command line counts, whatever the variable says.
        process.set_variable("LERIANCTL_SERVER_MASTER_KEY", Secret::generate().expose());
        process.set_flags(flags.to_vec());
        process.restart();
        let caller = Caller::at(process.url()).with_key(process.api_key().expose());
        let tenant = tenant.clone();
        block_on(async move { caller.connections(&tenant, "tracer").await.expect(200) });
    }
}
