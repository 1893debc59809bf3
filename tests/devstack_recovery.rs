//! kill -9 of anything: data is intact afterwards, and nothing runs on.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use lerianctl::devstack::account::Account;
use lerianctl::devstack::process::ProcessId;
use lerianctl::devstack::stack::{Health, Home, Incident, Keys, status};
use rustix::process::Signal;

use super::support::stack::{
    DATA, Supervisor, assert_kept, connections, fill, parent, servers, start, until,
};

/// Not a test: the process that [`Supervisor`] runs. It starts the stack, and stops it on TERM.
#[ignore = "run by other tests"]
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the other tests name the folder like this"
)]
async fn supervisor_process() {
    let Some(data) = std::env::var_os(DATA) else {
        return;
    };
    let kind = tokio::signal::unix::SignalKind::terminate();
    let mut terminated = tokio::signal::unix::signal(kind).unwrap();
    let stack = start(Path::new(&data)).await;
    terminated.recv().await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let home = tempfile::tempdir().unwrap();
    let mut stack = start(home.path()).await;
    let connections = connections(&stack);
    fill(&connections).await;
    let incidents = Mutex::new(Vec::new());
    let story = async {
        let restarts = || {
            let incidents = incidents.lock().unwrap();
            let restarted = |incident: &&Incident| matches!(incident, Incident::Restarted { .. });
            incidents.iter().filter(restarted).count()
        };
        let mut expected = 0;
        // The servers themselves, twice, and then the guards that would have stopped them.
        for victim in ["server", "server", "guard"] {
            for number in 0..2 {
                let seen = status(home.path()).await.unwrap().unwrap();
                let server = servers(&seen)[number].clone();
                let process = match victim {
                    "server" => server.clone(),
                    _ => parent(&server),
                };
                assert!(process.signal(Signal::KILL));
                expected += 1;
                until("the server was restarted", async || restarts() == expected).await;
                assert!(!server.is_alive(), "the old server runs on");
                assert_kept(&connections).await;
            }
        }
        let seen = status(home.path()).await.unwrap().unwrap();
        assert_eq!(seen.postgres.unwrap().health, Health::Answers);
        assert_eq!(seen.redis.unwrap().health, Health::Answers);
    };
    tokio::select! {
        () = stack.supervise(|incident| incidents.lock().unwrap().push(incident)) => unreachable!(),
        () = story => {}
    }
    stack.stop().await.unwrap();
    let told = incidents.lock().unwrap();
    let ended = told
        .iter()
        .filter(|incident| matches!(incident, Incident::Ended { .. }));
    assert_eq!(ended.count(), 6);
}

#[tokio::test]
async fn servers_end_with_a_killed_supervisor() {
    let home = tempfile::tempdir().unwrap();
    let mut supervisor = Supervisor::start(home.path()).await;
    let seen = status(home.path()).await.unwrap().unwrap();
    assert_eq!(seen.supervisor, Some(supervisor.child.id()));
    let processes = servers(&seen);
    supervisor.kill();
    until("the servers ended", async || {
        processes.iter().all(|process| !process.is_alive())
    })
    .await;
}

#[tokio::test]
async fn data_survives_a_killed_supervisor() {
    let home = tempfile::tempdir().unwrap();
    let mut supervisor = Supervisor::start(home.path()).await;
    let keys = Home::existing(home.path()).unwrap().unwrap();
    let keys = Keys::new(&keys);
    fill(&keys.connections().unwrap().unwrap()).await;
    supervisor.kill();
    // At once: the guards are still stopping the old servers.
    let stack = start(home.path()).await;
    assert_kept(&connections(&stack)).await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn servers_that_outlived_everything_are_stopped_by_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let mut supervisor = Supervisor::start(home.path()).await;
    let processes = servers(&status(home.path()).await.unwrap().unwrap());
    for process in &processes {
        let guard = parent(process);
        assert!(guard.signal(Signal::KILL));
        // Until its number is given back, what is left of it believes that it is there, and would
        // stop the server.
        let entry = format!("/proc/{}", guard.pid);
        until("the guard is gone", async || !Path::new(&entry).exists()).await;
    }
    supervisor.kill();
    assert!(
        processes.iter().all(ProcessId::is_alive),
        "there is nothing to recover from"
    );

    let stack = start(home.path()).await;
    assert!(processes.iter().all(|process| !process.is_alive()));
    stack.stop().await.unwrap();
}

/// The main stories once more as an ordinary user, when the tests themselves run as root.
#[tokio::test]
async fn an_unprivileged_user_runs_everything_as_itself() {
    let Some(account) = Account::for_servers().unwrap() else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = home.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    account.own_folder(&temporary).unwrap();
    let output = Command::new(&program)
        .args([
            "--exact",
            "--test-threads=2",
            "devstack_servers::the_shared_postgres_answers_and_wants_its_password",
            "devstack_stack::data_keys_and_ports_outlive_a_restart",
            "devstack_recovery::a_killed_server_comes_back_on_its_port_with_its_data",
            "devstack_recovery::servers_that_outlived_everything_are_stopped_by_the_next_start",
        ])
        .uid(account.uid)
        .gid(account.gid)
        .current_dir("/")
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("test result: ok. 4 passed"), "{text}");
    // The servers of the shared instances end a moment after their process.
    until("the user's files are gone", async || {
        std::fs::read_dir(&temporary).unwrap().count() == 0
    })
    .await;
}

#[tokio::test]
async fn a_start_that_was_killed_at_any_instant_is_completed_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    for milliseconds in [20, 100, 250, 400, 600, 900, 1_200] {
        let mut supervisor = Supervisor::spawn(home.path());
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        supervisor.kill();
    }
    let stack = start(home.path()).await;
    fill(&connections(&stack)).await;
    assert_kept(&connections(&stack)).await;
    let left: Vec<_> = std::fs::read_dir(home.path().join("servers/postgres"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with("new-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    stack.stop().await.unwrap();
}

/// Runs other tests of this binary with `temporary` as the folder for temporary files.
fn other_tests(temporary: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "devstack_servers::the_shared_postgres_answers_and_wants_its_password",
        ])
        .args(["devstack_servers::the_shared_redis_answers_and_wants_its_password"])
        .args(["devstack_servers::a_redis_cluster_spreads_keys_over_its_nodes"])
        .env("TMPDIR", temporary);
    command
}

/// Returns every process of ours that works below `folder`.
fn below(folder: &Path) -> Vec<ProcessId> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let link = std::fs::read_link(entry.path().join("cwd"));
            link.is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .filter_map(|entry| ProcessId::of(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

#[tokio::test]
async fn a_test_process_leaves_nothing_behind_however_it_ends() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let gone = async || {
        until("nothing is left", async || {
            below(home.path()).is_empty() && std::fs::read_dir(home.path()).unwrap().count() == 0
        })
        .await;
    };
    let output = other_tests(home.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("test result: ok. 3 passed"), "{text}");
    gone().await;

    let quiet = std::process::Stdio::null;
    let mut child = other_tests(home.path()).stdout(quiet()).spawn().unwrap();
    until("servers run", async || {
        assert_eq!(child.try_wait().unwrap(), None, "it ended too early");
        below(home.path()).len() > 3
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    gone().await;
}
