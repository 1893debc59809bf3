//! Development stacks: in this process, or run by one that is to be killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lerianctl::devstack::process::ProcessId;
use lerianctl::devstack::stack::{Connections, ServerStatus, Stack, StackSettings, Status, status};

use super::{connection, session};

/// Names the data folder for the process that [`Supervisor`] runs.
pub(crate) const DATA: &str = "LERIANCTL_TEST_DATA";

#[expect(
    clippy::disallowed_methods,
    reason = "tests look where the user's shell would"
)]
pub(crate) fn settings() -> StackSettings {
    StackSettings {
        path: std::env::var_os("PATH").unwrap_or_default(),
        durable: false,
        ..StackSettings::default()
    }
}

/// Starts a stack in this process.
pub(crate) async fn start(data: &Path) -> Stack {
    let mut stack = Stack::open(data, settings()).unwrap();
    stack.start().await.unwrap();
    stack.announce(None).unwrap();
    stack
}

/// Returns how the servers of a started stack are reached.
pub(crate) fn connections(stack: &Stack) -> Connections {
    stack.connections().unwrap().clone()
}

/// Puts something into both servers.
pub(crate) async fn fill(connections: &Connections) {
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

/// Fails unless what [`fill`] put there is still there.
pub(crate) async fn assert_kept(connections: &Connections) {
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
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_mins(2), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the identity of a running process.
pub(crate) fn identity(pid: u32) -> ProcessId {
    ProcessId::of(pid).unwrap()
}

/// Returns both servers' processes.
pub(crate) fn servers(status: &Status) -> [ProcessId; 2] {
    let pid = |server: &Option<ServerStatus>| identity(server.as_ref().unwrap().pid.unwrap());
    [pid(&status.postgres), pid(&status.redis)]
}

/// Returns the process that started `process`: the guard of a server.
pub(crate) fn parent(process: &ProcessId) -> ProcessId {
    let output = Command::new("ps")
        .args(["-o", "ppid=", "-p", &process.pid.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    identity(text.trim().parse().unwrap())
}

/// A stack that another process runs, killed when dropped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) child: Child,
}

impl Supervisor {
    /// Starts it.
    pub(crate) fn spawn(data: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "devstack_recovery::supervisor_process",
                "--exact",
                "--ignored",
            ])
            .env(DATA, data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) async fn start(data: &Path) -> Self {
        let mut supervisor = Self::spawn(data);
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

    /// Kills it with -9.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.kill();
    }
}
