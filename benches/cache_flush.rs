//! Flushes one tenant of many, against the bare scan and against redis-cli.
//!
//! `cargo bench --bench cache_flush -- [--tenants N] [--keys N] [--rounds N] [--ids random|sequential]`
//!
//! Goals: at most 1.2 times a bare `SCAN MATCH tenant:ID:* COUNT 10000` of the same keyspace, and
//! at least 8 times as fast as redis-cli's scan piped to unlink. The latter makes 100,000 round
//! trips, so it is a question of how fast an idle processor wakes up: measure on a quiet machine
//! (beside a process that keeps the processors awake redis-cli takes a quarter of the time).
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench prints its figures, ends at the first failure and looks around as a shell does"
)]

use std::env;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lerianctl::cache::{self, KeyTenant, Scope};
use lerianctl::devstack::{programs, temporary};
use lerianctl::link::redis::{RedisEndpoint, Session};
use redis::Pipeline;

/// What a tenant's keys look like; `T` is the tenant, `N` a number. One third are caches.
const SHAPES: &[&str] = &[
    "tenant:T:ledger_settings:{019a1f7e-0000-7000-8000-000000000001:N}",
    "tenant:T:accounting_routes:{019a1f7e-0000-7000-8000-000000000001:019a1f7e-0000-7000-8000-000000000002:N}",
    "tenant:T:fee_packages:{019a1f7e-0000-7000-8000-000000000001:N}",
    "tenant:T:fetcher:schema:N",
    "tenant:T:data_source_details:N",
    "tenant:T:matcher:dashboard:N",
    "tenant:T:m2m:N:org:credentials",
    "matcher:discovery:schema:v2:T:N",
    "tenant-connections:T:serviceN",
    "tenant:T:balance:{transactions}:019a1f7e-0000-7000-8000-000000000001:019a1f7e-0000-7000-8000-000000000002:@N#default",
    "tenant:T:balance:{transactions}:019a1f7e-0000-7000-8000-000000000001:019a1f7e-0000-7000-8000-000000000002:@N#overdraft",
    "tenant:T:wb_transaction:{019a1f7e-0000-7000-8000-000000000001:019a1f7e-0000-7000-8000-000000000002:N}",
    "tenant:T:idempotency:{019a1f7e-0000-7000-8000-000000000001:019a1f7e-0000-7000-8000-000000000002:N}",
    "tenant:T:idempotency_reverse:{019a1f7e-0000-7000-8000-000000000001:019a1f7e-0000-7000-8000-000000000002}:N",
    "tenant:T:pending_transaction:{transaction}:019a1f7e-0000-7000-8000-000000000001:N",
    "tenant:T:matcher:dedupe:context:N",
    "tenant:T:ratelimit:gold:N",
    "matcher:idempotency:T:N",
    "matcher:matchrun:lock:T:N",
    "idempotency:T:N",
    "dlq:T:N",
    "tenant:T:lock:N",
    "tenant:T:pacing:N",
    "tenant:T:something:else:N",
    "tenant:T:redis_consumer_lock:{019a1f7e-0000-7000-8000-000000000001:N}",
    "tenant:T:idempotency:crm:holder:N",
    "tenant:T:idempotency:template:N",
];

struct Options {
    tenants: usize,
    keys: usize,
    rounds: usize,
    sequential: bool,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            tenants: 100,
            keys: 10_000,
            rounds: 5,
            sequential: false,
        };
        let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_default();
            let number = || value.parse().unwrap_or_else(|_| panic!("{name} NUMBER"));
            match name.as_str() {
                "--tenants" => options.tenants = number(),
                "--keys" => options.keys = number(),
                "--rounds" => options.rounds = number(),
                "--ids" => options.sequential = value == "sequential",
                _ => panic!("unknown flag {name}"),
            }
        }
        assert!(
            options.tenants > 2 * options.rounds,
            "each round flushes tenants of its own: more tenants, or fewer rounds"
        );
        options
    }

    fn id(&self, number: usize) -> String {
        if self.sequential {
            format!("{number:032x}")
        } else {
            uuid::Uuid::new_v4().simple().to_string()
        }
    }
}

fn main() {
    let options = Options::parse();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run(&options));
}

async fn run(options: &Options) {
    let path = env::var_os("PATH").unwrap_or_default();
    let program = programs::find_redis(&path).expect("redis-server is installed");
    let server = temporary::redis(&program, &env::temp_dir()).await.unwrap();
    let endpoint = server.endpoint();
    let ids: Vec<_> = (0..options.tenants).map(|n| options.id(n)).collect();
    fill(&endpoint, &ids, options.keys).await;
    println!(
        "{} keys: {} tenants with {} each, {} ids; {} rounds",
        options.tenants * options.keys,
        options.tenants,
        options.keys,
        if options.sequential {
            "sequential"
        } else {
            "random"
        },
        options.rounds,
    );

    let (mut bare, mut ours, mut shell) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        // Spread over the list, so that no id is special.
        let step = options.tenants / (2 * options.rounds);
        let [one, other] = [&ids[2 * round * step], &ids[(2 * round + 1) * step]];
        bare.push(scan(&mut endpoint.connect().await.unwrap(), one).await);
        let (time, deleted) = flush(&endpoint, one).await;
        ours.push(time);
        shell.push(redis_cli(&endpoint, other));
        println!(
            "  round {}: bare scan {:>7.1} ms   flush {:>7.1} ms ({deleted} caches)   redis-cli {:>8.1} ms",
            round + 1,
            ms(*bare.last().unwrap()),
            ms(*ours.last().unwrap()),
            ms(*shell.last().unwrap()),
        );
    }
    let [bare, ours, shell] = [bare, ours, shell].map(median);
    println!(
        "median: bare scan {:.1} ms, flush {:.1} ms, redis-cli {:.1} ms",
        ms(bare),
        ms(ours),
        ms(shell)
    );
    report(
        "flush / bare scan",
        ours.as_secs_f64() / bare.as_secs_f64(),
        |r| r <= 1.2,
        "at most 1.2",
    );
    report(
        "redis-cli / flush",
        shell.as_secs_f64() / ours.as_secs_f64(),
        |r| r >= 8.0,
        "at least 8",
    );
}

fn report(what: &str, ratio: f64, good: impl Fn(f64) -> bool, goal: &str) {
    let verdict = if good(ratio) { "reached" } else { "MISSED" };
    println!("{what}: {ratio:.2} (goal: {goal}, {verdict})");
}

async fn fill(endpoint: &RedisEndpoint, ids: &[String], keys: usize) {
    let mut session = endpoint.connect().await.unwrap();
    let value = "x".repeat(40);
    for id in ids {
        let mut commands = Pipeline::with_capacity(keys);
        for number in 0..keys {
            let shape = SHAPES[number % SHAPES.len()];
            let key = shape.replace('T', id).replace('N', &number.to_string());
            commands.cmd("SET").arg(key).arg(&value);
        }
        session.pipeline(&commands).await.unwrap();
    }
    let count: usize = session.query(&redis::cmd("DBSIZE")).await.unwrap();
    assert_eq!(count, ids.len() * keys);
}

/// The floor: the scan that anyone would write first, with nothing deleted.
async fn scan(session: &mut Session, id: &str) -> Duration {
    let start = Instant::now();
    let mut cursor = "0".to_owned();
    loop {
        let mut command = redis::cmd("SCAN");
        command
            .arg(&cursor)
            .arg("MATCH")
            .arg(format!("tenant:{id}:*"));
        command.arg("COUNT").arg(10_000);
        let (next, _): (String, Vec<Vec<u8>>) = session.query(&command).await.unwrap();
        cursor = next;
        if cursor == "0" {
            return start.elapsed();
        }
    }
}

/// Ours, connecting included.
async fn flush(endpoint: &RedisEndpoint, id: &str) -> (Duration, u64) {
    let scope = Scope::everything().tenants([id.parse::<KeyTenant>().unwrap()]);
    let start = Instant::now();
    let mut deployment = endpoint.primaries().await.unwrap();
    let flush = cache::flush(&mut deployment, &scope, &|_| ()).await;
    let time = start.elapsed();
    assert!(flush.nodes.iter().all(|node| node.error.is_none()));
    let deleted = flush.total().deleted.values().sum();
    assert_ne!(deleted, 0);
    (time, deleted)
}

/// What an operator without a tool would do. It deletes balances too: never do it.
fn redis_cli(endpoint: &RedisEndpoint, id: &str) -> Duration {
    let port = endpoint.port;
    let start = Instant::now();
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "redis-cli -p {port} --scan --pattern 'tenant:{id}:*' | xargs -n 1000 redis-cli -p {port} unlink"
        ))
        .env("REDISCLI_AUTH", endpoint.password.as_ref().unwrap().expose())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    start.elapsed()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
