//! Start-up: `lerianctl --version` and an offline `token inspect` against a program that does
//! nothing, compiled with the same settings, measured in turn in the same run.
//!
//! Goal: within twice the time of the empty program. `cargo bench --bench startup`.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

const ROUNDS: usize = 500;
const GOAL: f64 = 2.0;

/// An ordinary token with a tenant, an issuer and times, so that every claim is read; its signature
/// is not checked.
const TOKEN: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImJlbmNoIn0.",
    "eyJpc3MiOiJiZW5jaCIsInN1YiI6ImJlbmNoIiwidGVuYW50SWQiOiI3YjBlMWM1YTlmM2Q0YjYyYTFjOGU0ZDdmMDkzNmIyMSIs",
    "ImlhdCI6MTc2NDAwMDAwMCwiZXhwIjoyNTI0NjA4MDAwfQ.",
    "c2lnbmF0dXJl"
);

struct Candidate {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
    input: Option<PathBuf>,
    /// Status that says it did its work.
    status: i32,
    times: Vec<Duration>,
}

impl Candidate {
    fn run(&self) -> anyhow::Result<Duration> {
        let input = match &self.input {
            Some(path) => File::open(path)?.into(),
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments)
            .env_clear()
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status().context(self.name)?;
        let taken = start.elapsed();
        ensure!(status.code() == Some(self.status), "{} failed", self.name);
        Ok(taken)
    }
}

/// Compiles an empty `main` with the settings of the release profile.
fn empty_program(folder: &Path) -> anyhow::Result<PathBuf> {
    let source = folder.join("empty.rs");
    let program = folder.join("empty");
    std::fs::write(&source, "fn main() {}\n")?;
    let status = Command::new(option_env!("RUSTC").unwrap_or("rustc"))
        .args([
            "--edition",
            "2024",
            "-C",
            "opt-level=3",
            "-C",
            "strip=symbols",
        ])
        .args(["-C", "panic=abort", "-o"])
        .args([&program, &source])
        .status()
        .context("rustc")?;
    ensure!(status.success(), "the empty program does not compile");
    Ok(program)
}

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("token");
    std::fs::write(&input, TOKEN)?;
    let lerianctl = PathBuf::from(env!("CARGO_BIN_EXE_lerianctl"));
    let candidate = |name, program: &Path, arguments, input, status| Candidate {
        name,
        program: program.to_owned(),
        arguments,
        input,
        status,
        times: Vec::with_capacity(ROUNDS),
    };
    let mut candidates = [
        candidate(
            "empty program",
            &empty_program(folder.path())?,
            &[][..],
            None,
            0,
        ),
        candidate("lerianctl --version", &lerianctl, &["--version"], None, 0),
        candidate(
            "lerianctl token inspect -",
            &lerianctl,
            &["token", "inspect", "-"],
            Some(input),
            0,
        ),
    ];
    for candidate in &candidates {
        for _ in 0..20 {
            candidate.run()?;
        }
    }
    // In turn, so that whatever else the machine does hits all of them alike.
    for _ in 0..ROUNDS {
        for candidate in &mut candidates {
            let taken = candidate.run()?;
            candidate.times.push(taken);
        }
    }
    println!("start-up, {ROUNDS} runs each in turn, wall time of the whole process");
    let mut floor = 0.0;
    for candidate in &mut candidates {
        candidate.times.sort();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let median = milliseconds(candidate.times[ROUNDS / 2]);
        if floor == 0.0 {
            floor = median;
        }
        println!(
            "  {:<28} median {median:>6.2} ms   min {:>6.2} ms   {:>4.2} x (goal: at most {GOAL:.1} x)",
            candidate.name,
            milliseconds(candidate.times[0]),
            median / floor,
        );
    }
    Ok(())
}
