//! Memory of a server under load is flat: known and unknown tenants, good and bad keys, on each
//! registry.
//!
//! `LERIANCTL_TEST_MEMORY_SECONDS=600` makes it last ten minutes; `LERIANCTL_TEST_MEMORY_LOG=FILE`
//! writes down what was seen.

use std::io::Write as _;
use std::time::{Duration, Instant};

use lerianctl::contract::TenantId;
use rand::RngExt as _;
use serde_json::Value;

use crate::server_kit::Caller;
use crate::support::{Postgres, ServerProcess, block_on};

/// How long it lasts in `make test`.
const SECONDS: u64 = 10;
const WORKERS: usize = 8;
const TENANTS: usize = 8;
/// What may come on top, in bytes: memory is given back in large pieces, and late.
const SLACK: usize = 16 * 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "a test has no flags")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn duration() -> Duration {
    let seconds = variable("LERIANCTL_TEST_MEMORY_SECONDS");
    Duration::from_secs(seconds.map_or(SECONDS, |text| text.parse().expect("seconds")))
}

/// Returns the memory of a process, in bytes.
fn resident(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: usize = line
        .expect("Linux says it")
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kilobytes * 1024
}

/// Asks until the time is up; returns how often.
async fn work(caller: Caller, tenants: Vec<Value>, until: Instant) -> u64 {
    let stranger = caller.with_key("a key that nobody has");
    let mut asked = 0;
    while Instant::now() < until {
        let (dice, at) = {
            let mut random = rand::rng();
            (
                random.random_range(0..100),
                random.random_range(0..tenants.len()),
            )
        };
        let known = &tenants[at];
        match dice {
            0 => {
                let nobody = TenantId::generate();
                let path = format!("/v1/tenants/{nobody}/associations/tracer/connections");
                caller.get(&path).await.expect(404);
            }
            1 => {
                stranger.connections(known, "tracer").await.expect(401);
            }
            2 => {
                caller.get("/v1/admin/tenants?limit=5").await.expect(200);
            }
            3 => {
                let path = "/v1/tenants/active?service=tracer";
                assert_eq!(caller.get(path).await.status, 200);
            }
            _ => {
                caller.connections(known, "tracer").await.expect(200);
            }
        }
        asked += 1;
    }
    asked
}

fn stays_flat(process: &ServerProcess, name: &str) {
    let caller = Caller::at(process.url()).with_key(process.api_key().expose());
    let tenants = block_on({
        let caller = caller.clone();
        async move {
            let mut tenants = Vec::new();
            for _ in 0..TENANTS {
                tenants.push(caller.tenant(&["tracer"], "schema").await);
            }
            tenants
        }
    });
    let begun = Instant::now();
    let end = begun + duration();
    let at_start = resident(process.id());
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (caller, tenants) = (caller.clone(), tenants.clone());
            std::thread::spawn(move || block_on(work(caller, tenants, end)))
        })
        .collect();
    // After a tenth everything that is remembered is remembered.
    std::thread::sleep(duration() / 10);
    let early = resident(process.id());
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    let late = resident(process.id());
    let asked: u64 = workers
        .into_iter()
        .map(|worker| worker.join().expect("every answer was as expected"))
        .sum();
    let seen = format!(
        "{name}: {asked} requests in {:?}; {} kB at the start, {} kB after a tenth, {} kB at the end",
        duration(),
        at_start / 1024,
        early / 1024,
        late / 1024
    );
    if let Some(path) = variable("LERIANCTL_TEST_MEMORY_LOG") {
        let mut log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(log, "{seen}").unwrap();
    }
    assert!(late < early + early / 10 + SLACK, "{seen}");
}

#[test]
fn memory_under_load_is_flat_on_sqlite() {
    let process = ServerProcess::start(&Postgres::shared().endpoint(), None);
    stays_flat(&process, "SQLite");
}

#[test]
fn memory_under_load_is_flat_on_postgresql() {
    let postgres = Postgres::private();
    let process = ServerProcess::replicas(1, &postgres.endpoint(), None).remove(0);
    stays_flat(&process, "PostgreSQL");
}
