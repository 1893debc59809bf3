//! The development stack: data outlives restarts and kill -9, and nothing runs on afterwards.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lerianctl::devstack::DevstackError;
use lerianctl::devstack::account::Account;
use lerianctl::devstack::process::{self, ProcessId};
use lerianctl::devstack::stack::{
    Connections, Down, Health, Incident, Stack, StackSettings, Status, down, reset, status,
};
use rustix::process::Signal;

use super::devstack_servers::{connection, session};
use super::support::{Postgres, Redis};

/// Names the data folder for [`supervisor_process`].
const DATA: &str = "LERIANCTL_TEST_DATA";

#[expect(
    clippy::disallowed_methods,
    reason = "tests look where the user's shell would"
)]
fn settings() -> StackSettings {
    StackSettings {
        path: std::env::var_os("PATH").unwrap_or_default(),
        durable: false,
        ..StackSettings::default()
    }
}

async fn start(data: &Path) -> Stack {
    let mut stack = Stack::open(data, settings()).unwrap();
    stack.start().await.unwrap();
    stack.announce(None).unwrap();
    stack
}

fn connections(stack: &Stack) -> Connections {
    stack.connections().unwrap().clone()
}

async fn fill(connections: &Connections) {
    let client = session(&connections.postgres).await;
    client
        .batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (42)")
        .await
        .unwrap();
    let mut redis = connection(&connections.redis).await;
    redis::cmd("SET")
        .arg("kept")
        .arg("42")
        .query_async::<()>(&mut redis)
        .await
        .unwrap();
}

async fn assert_kept(connections: &Connections) {
    let client = session(&connections.postgres).await;
    let row = client.query_one("SELECT id FROM kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    let mut redis = connection(&connections.redis).await;
    let value: String = redis::cmd("GET")
        .arg("kept")
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(value, "42");
}

/// Waits until `condition` holds; fails when it never does.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_mins(2), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn identity(pid: u32) -> ProcessId {
    ProcessId::of(pid).unwrap()
}

/// Returns both servers' processes.
fn servers(status: &Status) -> [ProcessId; 2] {
    let pid = |server: &Option<lerianctl::devstack::stack::ServerStatus>| {
        identity(server.as_ref().unwrap().pid.unwrap())
    };
    [pid(&status.postgres), pid(&status.redis)]
}

/// Returns the process that started `process`: the guard of a server.
fn parent(process: &ProcessId) -> ProcessId {
    let output = Command::new("ps")
        .args(["-o", "ppid=", "-p", &process.pid.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    identity(text.trim().parse().unwrap())
}

/// A stack that another process runs, killed when dropped.
struct Supervisor {
    child: Child,
}

impl Supervisor {
    async fn start(data: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["devstack_stack::supervisor_process", "--exact", "--ignored"])
            .env(DATA, data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut supervisor = Self { child };
        until("the stack is ready", async || {
            assert_eq!(
                supervisor.child.try_wait().unwrap(),
                None,
                "it ended at once"
            );
            let status = status(data).await.unwrap();
            status.is_some_and(|status| status.ready)
        })
        .await;
        supervisor
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.kill();
    }
}

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
    let keys = lerianctl::devstack::stack::Home::existing(home.path())
        .unwrap()
        .unwrap();
    let keys = lerianctl::devstack::stack::Keys::new(&keys);
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
        assert!(parent(process).signal(Signal::KILL));
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
            "devstack_stack::a_killed_server_comes_back_on_its_port_with_its_data",
            "devstack_stack::servers_that_outlived_everything_are_stopped_by_the_next_start",
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
