//! Backups, and the way from SQLite to PostgreSQL and back: nothing is lost, nothing is opened,
//! nothing is overwritten.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lerianctl::secret::Secret;
use lerianctl::server::{RegistryPlace, ServerSettings, read_archive, write_archive};
use serde_json::{Value, json};

use crate::server_kit::{Caller, log_in, path};
use crate::support::{Postgres, Sandbox, Server, block_on, cluster, unique};

fn settings(folder: &Path) -> ServerSettings {
    Server::settings(folder, vec![cluster("main", Postgres::shared())], None)
}

fn on_postgres() -> RegistryPlace {
    RegistryPlace::Postgres {
        endpoint: Postgres::shared().endpoint(),
        schema: unique("archive"),
    }
}

/// Everything that a caller can see, and a login with what is handed out.
async fn seen(caller: &Caller, tenants: &[Value]) -> Vec<Value> {
    let mut all = vec![
        caller.get("/v1/admin/tenants?status=all").await.expect(200),
        caller.get("/v1/admin/operations").await.expect(200),
        caller.get("/v1/admin/databases").await.expect(200),
    ];
    for tenant in tenants {
        let answer = caller.connections(tenant, "tracer").await;
        if answer.status == 200 {
            let config = answer.expect(200);
            log_in(&config["databases"]["tracer"]["postgresql"])
                .await
                .unwrap();
        }
        all.push(json!([answer.status, answer.text]));
    }
    all
}

#[tokio::test]
async fn a_registry_moves_to_postgresql_and_back_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    let server = Server::serve(settings.clone());
    let caller = Caller::new(&server);
    let first = caller.tenant(&["tracer"], "database").await;
    let second = caller.tenant(&["tracer", "reporter"], "schema").await;
    caller
        .post(&path(&second, "/suspend"), &json!({}))
        .await
        .expect(200);
    let tenants = [first, second];
    let before = seen(&caller, &tenants).await;

    // While a server works on it there is a backup, and no export.
    let file = folder.path().join("backup");
    let backed_up = write_archive(&settings.registry, &file, false)
        .await
        .unwrap();
    assert!(
        backed_up
            .iter()
            .any(|table| table.table == "tenants" && table.rows == 2)
    );
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = write_archive(&settings.registry, &file, false).await;
    assert!(refused.unwrap_err().to_string().contains("not overwritten"));
    let export = folder.path().join("export");
    let refused = write_archive(&settings.registry, &export, true).await;
    assert!(refused.unwrap_err().to_string().contains("in use"));
    server.stop();

    // Passwords are in neither.
    let config: Value = serde_json::from_str(before[3][1].as_str().unwrap()).unwrap();
    let password = &config["databases"]["tracer"]["postgresql"]["password"];
    let password = password.as_str().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(password));
    assert!(text.contains(tenants[0]["id"].as_str().unwrap()));

    let written = write_archive(&settings.registry, &export, true)
        .await
        .unwrap();
    let sqlite = std::mem::replace(&mut settings.registry, on_postgres());
    read_archive(&settings.registry, &export, true)
        .await
        .unwrap();
    let imported = read_archive(&settings.registry, &export, false)
        .await
        .unwrap();
    assert_eq!(imported, written);
    let refused = read_archive(&settings.registry, &export, false).await;
    assert!(refused.unwrap_err().to_string().contains("not empty"));

    let server = Server::serve(settings.clone());
    let caller = Caller::new(&server);
    assert_eq!(seen(&caller, &tenants).await, before);
    // It goes on: numbers that count by themselves do not begin anew.
    let third = caller.tenant(&["tracer"], "database").await;
    caller
        .post(&path(&tenants[1], "/reactivate"), &json!({}))
        .await
        .expect(200);
    let tenants = [tenants[0].clone(), tenants[1].clone(), third];
    let before = seen(&caller, &tenants).await;
    let refused = write_archive(&settings.registry, &folder.path().join("no"), true).await;
    assert!(refused.unwrap_err().to_string().contains("work on it"));
    server.stop();

    let back = folder.path().join("back");
    let written = write_archive(&settings.registry, &back, true)
        .await
        .unwrap();
    settings.registry = RegistryPlace::Sqlite(folder.path().join("second.sqlite"));
    assert_ne!(settings.registry, sqlite);
    assert_eq!(
        read_archive(&settings.registry, &back, false)
            .await
            .unwrap(),
        written
    );
    let server = Server::serve(settings);
    assert_eq!(seen(&Caller::new(&server), &tenants).await, before);
    server.stop();
}

#[test]
fn the_commands_plan_refuse_and_say_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(settings(folder.path()));
    let registry = server.registry();
    let registry = registry.to_str().unwrap();
    let caller = Caller::new(&server);
    block_on(async move { caller.tenant(&["tracer"], "database").await });
    let room = Sandbox::new();
    let done = room.run([
        "server",
        "backup",
        "--registry",
        registry,
        "one.backup",
        "-o",
        "json",
    ]);
    let done = done.success().json();
    assert_eq!(done["kind"], "RegistryArchive");
    assert_eq!(done["changed"], true);
    let _ = room
        .run(["server", "backup", "--registry", registry, "one.backup"])
        .exits(2);
    let _ = room
        .run(["server", "export", "--registry", registry, "one.export"])
        .exits(6);
    server.stop();

    let tried = room.run([
        "server",
        "restore",
        "--registry",
        "new.db",
        "--dry-run",
        "one.backup",
        "-o",
        "json",
    ]);
    assert_eq!(tried.success().json()["changed"], false);
    assert!(
        !room.home().join("new.db").exists(),
        "a dry run makes nothing"
    );
    let planned = room.run([
        "server",
        "migrate",
        "--registry",
        "new.db",
        "--dry-run",
        "-o",
        "json",
    ]);
    let planned = planned.success().json();
    assert_eq!(planned["changed"], false);
    assert_eq!(planned["migrations"][0]["applied"], false);
    let done = room.run(["server", "restore", "--registry", "new.db", "one.backup"]);
    let _ = done.success();
    let again = room.run(["server", "restore", "--registry", "new.db", "one.backup"]);
    let _ = again.exits(6);
    let planned = room.run(["server", "migrate", "--registry", "new.db", "-o", "json"]);
    assert_eq!(planned.success().json()["changed"], false);

    // A byte less is noticed before anything is made.
    let whole = std::fs::read(room.home().join("one.backup")).unwrap();
    room.write("cut.backup", &whole[..whole.len() - 2]);
    let cut = room.run(["server", "restore", "--registry", "other.db", "cut.backup"]);
    let _ = cut.exits(6);
    assert!(!room.home().join("other.db").exists());

    // A password does not belong on the command line.
    let url = format!(
        "postgres://ada:{}@127.0.0.1:1/x",
        Secret::generate().expose()
    );
    let refused = room.run(["server", "migrate", "--registry", &url]);
    let _ = refused.exits(2);
}
