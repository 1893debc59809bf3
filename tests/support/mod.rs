//! What the tests share: real servers, a clean room for the binary, a Tenant Manager.
//!
//! - [`Postgres::shared`], [`Redis::shared`], [`RedisCluster::shared`]: one server per test process,
//!   started at the first call, gone with the process. Tests run side by side on them: use
//!   databases, roles and keys of your own ([`unique`]).
//! - [`Postgres::private`] and its siblings: a server of one's own, to fill, stop or kill.
//! - [`Sandbox`]: runs the binary with an empty environment and a home of its own.
//! - [`Server`]: a Tenant Manager in this process.
//!
//! Nothing here needs an asynchronous test, and everything works inside of one.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unused_imports, reason = "each test file uses a part")]

mod mongo;
mod process;
mod rabbit;
mod sandbox;
pub(crate) mod schema;
mod script;
mod server;
mod servers;
pub(crate) mod stack;
mod terminal;

pub(crate) use mongo::Mongo;
pub(crate) use process::ServerProcess;
pub(crate) use rabbit::Rabbit;
pub(crate) use sandbox::{Output, Sandbox};
pub(crate) use script::{Play, Script, Seen};
pub(crate) use server::Server;
pub(crate) use servers::{
    Postgres, Redis, RedisCluster, cluster, connection, postgres_18, programs, session,
};
pub(crate) use terminal::Terminal;

use std::future::Future;
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
});

/// Runs `future` to its end on a runtime of its own. Works inside and outside of asynchronous
/// tests.
pub(crate) fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    RUNTIME.spawn(async move {
        let _ = sender.send(future.await);
    });
    receiver.recv().expect("the future did not panic")
}

/// Returns a name that no other test uses: `prefix_<process>_<number>`.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{number}", std::process::id())
}

/// Says that something was not proved: straight to standard error, which no test runner captures.
pub(crate) fn skip(reason: &str) {
    let line = format!("\n!! SKIPPED: {reason}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error takes a line");
}
