//! Fifty tenants, created and provisioned: bare SQL, lerianctl, and a plain shell loop, in one run
//! on one private PostgreSQL (durable, fsync on) and Redis. `cargo bench --bench provision`.
//!
//! - bare: the statements that lerianctl issued for one tenant, taken from PostgreSQL's log, with
//!   other names, issued with the same parallelism and nothing around them;
//! - lerianctl: `lerianctl tenant create` for each tenant against `lerianctl server start`;
//! - shell: `provision-peer.sh`, a loop of psql, curl and redis-cli.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and stops at the first surprise"
)]

#[path = "provision/capture.rs"]
mod capture;
#[path = "provision/replay.rs"]
mod replay;
#[path = "provision/stack.rs"]
mod stack;

use std::time::Duration;

use stack::Stack;

const TENANTS: usize = 50;
const ROUNDS: usize = 3;
/// Operations at once in the server, workers in the replay, and callers of the command line.
const PARALLEL: usize = 4;

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn spread(times: &[Duration]) -> String {
    let seconds: Vec<String> = times
        .iter()
        .map(|time| format!("{:.2}", time.as_secs_f64()))
        .collect();
    seconds.join(" / ")
}

fn main() {
    capture::self_check();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let stack = runtime.block_on(Stack::start(PARALLEL));
    stack.create_tenants("warm", PARALLEL, PARALLEL);
    let captured = runtime.block_on(stack.capture());
    println!(
        "{TENANTS} tenants, one service (tracer) in database mode, {PARALLEL} at a time, {ROUNDS} rounds; {} statements and logins each",
        captured.acts.len()
    );

    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // In turn, and not always the same first.
        for ours_now in [round % 2 == 0, round % 2 != 0] {
            runtime.block_on(stack.settle());
            if ours_now {
                ours.push(stack.create_tenants(&format!("ours{round}"), TENANTS, PARALLEL));
            } else {
                let prefix = format!("bare{round}");
                let scripts = captured.scripts(&prefix, TENANTS);
                bare.push(runtime.block_on(replay::run(scripts, &captured.logins, PARALLEL)));
                runtime.block_on(stack.drop_databases(&prefix));
            }
        }
    }
    println!(
        "  bare SQL     {:>7.2} s   ({})",
        median(&mut bare),
        spread(&bare)
    );
    println!(
        "  lerianctl    {:>7.2} s   ({})",
        median(&mut ours),
        spread(&ours)
    );
    runtime.block_on(stack.settle());
    let shell = stack.shell_loop(TENANTS).as_secs_f64();
    println!("  shell loop   {shell:>7.2} s   (psql as found on PATH)");
    println!(
        "lerianctl / bare SQL    {:.2} x (goal: at most 1.3 x)",
        median(&mut ours) / median(&mut bare)
    );
    println!(
        "shell loop / lerianctl  {:.1} x (goal: at least 6 x)",
        shell / median(&mut ours)
    );
}
