//! The development stack: data outlives restarts, folders of others are safe.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lerianctl::devstack::DevstackError;
use lerianctl::devstack::account::Account;
use lerianctl::devstack::process;
use lerianctl::devstack::stack::{Down, Health, Stack, StackSettings, down, reset, status};
use rustix::process::Signal;

use super::support::stack::{
    Supervisor, assert_kept, connections, fill, parent, servers, settings, start,
};
use super::support::{Postgres, Redis};

#[tokio::test]
async fn data_keys_and_ports_outlive_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let stack = start(&data).await;
    let first = connections(&stack);
    fill(&first).await;
    let api_key = stack.keys().api_key().unwrap();
    let seen = status(&data).await.unwrap().unwrap();
    assert!(seen.running && seen.ready);
    assert_eq!(seen.supervisor, Some(std::process::id()));
    let processes = servers(&seen);
    stack.stop().await.unwrap();

    assert!(processes.iter().all(|process| !process.is_alive()));
    let seen = status(&data).await.unwrap().unwrap();
    assert!(!seen.running && !seen.ready);
    assert_eq!(seen.postgres.unwrap().health, Health::Stopped);
    assert_eq!(seen.redis.unwrap().health, Health::Stopped);

    let stack = start(&data).await;
    assert_eq!(connections(&stack), first);
    assert_eq!(stack.keys().api_key().unwrap(), api_key);
    assert_eq!(stack.keys().connections().unwrap(), Some(first.clone()));
    assert_kept(&first).await;
    stack.stop().await.unwrap();

    assert!(reset(&data).await.unwrap());
    assert!(!data.exists());
    assert!(!reset(&data).await.unwrap());
}

#[tokio::test]
async fn a_taken_port_is_replaced_at_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let stack = start(home.path()).await;
    let first = connections(&stack);
    fill(&first).await;
    stack.stop().await.unwrap();

    let _postgres = std::net::TcpListener::bind(("127.0.0.1", first.postgres.port)).unwrap();
    let _redis = std::net::TcpListener::bind(("127.0.0.1", first.redis.port)).unwrap();
    let stack = start(home.path()).await;
    let second = connections(&stack);
    assert_ne!(second.postgres.port, first.postgres.port);
    assert_ne!(second.redis.port, first.redis.port);
    assert_kept(&second).await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn down_stops_what_runs_and_clears_what_was_left() {
    let home = tempfile::tempdir().unwrap();
    let limit = Duration::from_mins(1);
    assert_eq!(down(home.path(), limit).await.unwrap(), Down::NotRunning);

    let mut supervisor = Supervisor::start(home.path()).await;
    let processes = servers(&status(home.path()).await.unwrap().unwrap());
    assert_eq!(down(home.path(), limit).await.unwrap(), Down::Stopped);
    assert!(supervisor.child.wait().unwrap().success());
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert_eq!(down(home.path(), limit).await.unwrap(), Down::NotRunning);

    let mut supervisor = Supervisor::start(home.path()).await;
    let processes = servers(&status(home.path()).await.unwrap().unwrap());
    for process in &processes {
        assert!(parent(process).signal(Signal::KILL));
    }
    supervisor.kill();
    assert_eq!(down(home.path(), limit).await.unwrap(), Down::Cleared);
    assert!(processes.iter().all(|process| !process.is_alive()));
}

#[tokio::test]
async fn two_stacks_run_side_by_side_but_not_in_one_folder() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = tokio::join!(start(one.path()), start(two.path()));
    let (a, b) = (connections(&first), connections(&second));
    fill(&a).await;
    fill(&b).await;
    assert_ne!(a.postgres.port, b.postgres.port);
    assert_ne!(a.redis.password, b.redis.password);

    let busy = Stack::open(one.path(), settings()).unwrap_err();
    let expected = Some(std::process::id());
    assert!(
        matches!(busy, DevstackError::Busy { supervisor, .. } if supervisor == expected),
        "{busy}"
    );
    assert!(matches!(
        reset(one.path()).await,
        Err(DevstackError::Busy { .. })
    ));

    first.stop().await.unwrap();
    assert_kept(&b).await;
    second.stop().await.unwrap();
}

#[tokio::test]
async fn foreign_folders_are_refused_by_every_verb() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("thesis.txt"), "years of work").unwrap();
    let refused = |error: DevstackError| matches!(error, DevstackError::Folder { .. });
    assert!(refused(Stack::open(home.path(), settings()).unwrap_err()));
    assert!(refused(status(home.path()).await.unwrap_err()));
    assert!(refused(
        down(home.path(), Duration::ZERO).await.unwrap_err()
    ));
    assert!(refused(reset(home.path()).await.unwrap_err()));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn missing_programs_are_named_before_anything_is_started() {
    let home = tempfile::tempdir().unwrap();
    let settings = StackSettings {
        postgres_bin: Some(home.path().join("nowhere")),
        ..settings()
    };
    let mut stack = Stack::open(&home.path().join("data"), settings).unwrap();
    let error = stack.start().await.unwrap_err();
    let DevstackError::Missing(missing) = error else {
        panic!("{error}");
    };
    assert!(missing.postgres && !missing.redis);
    assert!(missing.to_string().contains("nowhere"), "{missing}");
}

#[tokio::test]
async fn existing_servers_are_used_and_left_running() {
    let home = tempfile::tempdir().unwrap();
    let settings = StackSettings {
        postgres: Some(Postgres::shared().endpoint()),
        redis: Some(Redis::shared().endpoint()),
        ..StackSettings::default()
    };
    let mut stack = Stack::open(home.path(), settings).unwrap();
    stack.start().await.unwrap();
    stack.announce(Some("http://127.0.0.1:1")).unwrap();
    let seen = status(home.path()).await.unwrap().unwrap();
    assert_eq!(seen.server.as_deref(), Some("http://127.0.0.1:1"));
    for server in [seen.postgres.unwrap(), seen.redis.unwrap()] {
        assert!(!server.managed);
        assert_eq!((server.health, server.pid), (Health::Answers, None));
    }
    stack.stop().await.unwrap();
    assert!(Postgres::shared().process().is_alive());
    assert!(Redis::shared().process().is_alive());
}

#[tokio::test]
async fn an_existing_server_that_does_not_answer_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for server in ["postgres", "redis"] {
        let home = tempfile::tempdir().unwrap();
        let mut settings = StackSettings {
            postgres: Some(Postgres::shared().endpoint()),
            redis: Some(Redis::shared().endpoint()),
            ..StackSettings::default()
        };
        match server {
            "postgres" => settings.postgres.as_mut().unwrap().port = port,
            _ => settings.redis.as_mut().unwrap().port = port,
        }
        let mut stack = Stack::open(home.path(), settings).unwrap();
        let error = stack.start().await.unwrap_err();
        assert!(matches!(error, DevstackError::Link(_)), "{error}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}

#[tokio::test]
async fn root_keeps_the_servers_where_their_account_can_reach_them() {
    let Some(account) = Account::for_servers().unwrap() else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    // Open to root alone, as root's own home folder is.
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let data = home.path().join("data");
    assert!(!account.can_enter(home.path()));
    let stack = start(&data).await;
    fill(&connections(&stack)).await;
    let place = std::fs::read_to_string(data.join("servers.path")).unwrap();
    let place = Path::new(&place).to_owned();
    assert!(!place.starts_with(home.path()));
    let folder = place.join("postgres/data");
    assert!(!process::all_in(&["postgres"], &folder).is_empty());
    stack.stop().await.unwrap();

    let stack = start(&data).await;
    assert_kept(&connections(&stack)).await;
    stack.stop().await.unwrap();

    // A data folder that was removed by hand and made again starts empty.
    std::fs::remove_dir_all(&data).unwrap();
    let stack = start(&data).await;
    fill(&connections(&stack)).await;
    stack.stop().await.unwrap();
    assert!(reset(&data).await.unwrap());
    assert!(!place.exists());
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let stack = start(home.path()).await;
    fill(&connections(&stack)).await;
    stack.stop().await.unwrap();

    let file = home.path().join("servers/postgres/data/PG_VERSION");
    let version = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "8\n").unwrap();
    let mut stack = Stack::open(home.path(), settings()).unwrap();
    let error = stack.start().await.unwrap_err();
    assert!(error.to_string().contains("PostgreSQL 8,"), "{error}");
    drop(stack);

    std::fs::write(&file, version).unwrap();
    let stack = start(home.path()).await;
    assert_kept(&connections(&stack)).await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_password_is_an_error_and_not_a_new_one() {
    let home = tempfile::tempdir().unwrap();
    start(home.path()).await.stop().await.unwrap();
    std::fs::write(home.path().join("keys/postgres-password"), "another").unwrap();
    let mut stack = Stack::open(home.path(), settings()).unwrap();
    let error = stack.start().await.unwrap_err();
    assert!(error.to_string().contains("another password"), "{error}");
}

#[tokio::test]
async fn secrets_are_in_private_files_and_in_nobody_s_arguments() {
    let home = tempfile::tempdir().unwrap();
    let stack = start(home.path()).await;
    let connections = connections(&stack);
    let mut secrets = vec![
        stack.keys().api_key().unwrap(),
        stack.keys().master_key().unwrap(),
    ];
    secrets.extend(connections.postgres.password);
    secrets.extend(connections.redis.password);
    let processes = std::process::Command::new("ps")
        .args(["-eo", "args"])
        .output()
        .unwrap();
    let processes = String::from_utf8_lossy(&processes.stdout).into_owned();
    assert!(processes.contains(&home.path().display().to_string()));

    let mut seen = 0;
    let mut folders = vec![home.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                // PostgreSQL's and Redis' own files are theirs to protect.
                if entry.file_name() != "data" {
                    folders.push(path);
                }
                continue;
            }
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if secrets.iter().any(|secret| text.contains(secret.expose())) {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", path.display());
                assert!(!path.ends_with("postgres.log") && !path.ends_with("redis.log"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "the search found only {seen} files");
    for secret in &secrets {
        assert!(!processes.contains(secret.expose()));
        assert!(!format!("{stack:?}").contains(secret.expose()));
    }
    stack.stop().await.unwrap();
}
