//! Lerian's official client library, in the versions that its products are built with, against the
//! binary on real PostgreSQL and Redis.
//!
//! `tests/interop` is a Go program that is made of that library. It needs Go, and at its first
//! build the Go module proxy; where either is missing nothing is proved, and that is said where
//! no test runner hides it. With `CI=true` it is a failure.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{Postgres, Redis, ServerProcess};

/// Where the Go program lies.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Returns the path of one of the tests' certificates.
fn certificate(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    path.join(name)
        .to_str()
        .expect("the path is text")
        .to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a continuous integration sets is not the program's configuration"
)]
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that nothing was proved: straight to standard error, which no test runner captures.
fn skip(reason: &str) {
    let lines = format!(
        "\n!! interop: SKIPPED, {reason}\n!! interop: nothing is proved about Lerian's official client\n"
    );
    std::io::stderr().write_all(lines.as_bytes()).unwrap();
    assert!(!is_ci(), "interop cannot be skipped with CI=true: {reason}");
}

fn go(arguments: &[&str], proxy: Option<&str>) -> Result<(), String> {
    let mut command = Command::new("go");
    command.args(arguments).current_dir(folder());
    if let Some(proxy) = proxy {
        command.env("GOPROXY", proxy);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(text)
    }
}

/// Builds the program once; `None` when it cannot be had here.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            if let Err(reason) = go(&["version"], None) {
                skip(&format!("Go is not installed ({reason})"));
                return None;
            }
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
            let target = path.to_str().expect("the target folder's path is text");
            // Git need not trust this folder, or be there.
            let build = ["build", "-buildvcs=false", "-o", target, "."];
            // With every module at hand no network is needed, and none is waited for.
            if go(&build, Some("off")).is_ok() {
                return Some(path);
            }
            let download = || go(&["mod", "download"], None);
            // A network may stumble once; what is really missing is missing twice.
            if let Err(reason) = download().or_else(|_| download()) {
                let last = reason.lines().last().unwrap_or_default();
                skip(&format!("its Go modules cannot be fetched: {last}"));
                return None;
            }
            go(&build, None).unwrap_or_else(|error| panic!("tests/interop: {error}"));
            Some(path)
        })
        .as_deref()
}

/// Runs a set of cases and returns the names of those that passed; fails by the names of the
/// others.
fn run(set: &str) -> BTreeSet<String> {
    run_against(set, &[], str::to_owned)
}

/// As [`run`], with further arguments of the server, and its URL as the program is to use it.
fn run_against(set: &str, arguments: &[&str], url: impl Fn(&str) -> String) -> BTreeSet<String> {
    let Some(program) = program() else {
        return BTreeSet::new();
    };
    // Events of other tests would wait in line with ours: handlers sleep up to five seconds.
    let redis = Redis::private();
    let events = redis.endpoint();
    let mut server =
        ServerProcess::start_with(&Postgres::shared().endpoint(), Some(&events), arguments);
    let password = events.password.as_ref().expect("there is a password");
    let mut child = Command::new(program)
        .env("INTEROP_SET", set)
        .env("INTEROP_URL", url(server.url()))
        .env("SSL_CERT_FILE", certificate("authority.pem"))
        .env("INTEROP_API_KEY", server.api_key().expose())
        .env("INTEROP_REDIS_HOST", &events.host)
        .env("INTEROP_REDIS_PORT", events.port.to_string())
        .env("INTEROP_REDIS_PASSWORD", password.expose())
        .env("ENVIRONMENT_NAME", "production")
        // The private PostgreSQL speaks no TLS, which the library refuses unless told otherwise.
        .env("ALLOW_INSECURE_TLS", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        std::io::copy(&mut stderr, &mut said).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    });
    let mut answers = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut passed, mut failed) = (BTreeSet::new(), Vec::new());
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match line["ask"].as_str() {
            Some("stop") => server.kill(),
            Some("start") => server.restart_here(),
            Some(other) => panic!("nobody knows how to {other}"),
            None => {
                let name = line["case"].as_str().unwrap().to_owned();
                #[expect(clippy::print_stdout, reason = "captured unless asked for")]
                {
                    println!("{line}");
                }
                if line["passed"] == true {
                    passed.insert(name);
                } else {
                    failed.push(format!("{name}: {}", line["detail"].as_str().unwrap()));
                }
                continue;
            }
        }
        answers.write_all(b"done\n").unwrap();
    }
    let status = child.wait().unwrap();
    let said = said.join().unwrap();
    assert!(
        failed.is_empty() && status.success(),
        "{status}, {} cases failed:\n{}\n{said}",
        failed.len(),
        failed.join("\n"),
    );
    assert!(!passed.is_empty(), "no case was run\n{said}");
    passed
}

#[test]
fn products_of_both_versions_come_over_tls() {
    let secured = [
        "--tls-certificate-file",
        &certificate("server.pem"),
        "--tls-key-file",
        &certificate("server-key.pem"),
    ];
    // The name in the certificate.
    run_against("tls", &secured, |url| url.replace("127.0.0.1", "localhost"));
}

#[test]
fn the_calls_that_change_tenants_are_answered_as_the_library_expects() {
    run("contract");
}

#[test]
fn products_built_with_the_current_library_run_unchanged() {
    run("v5");
}

#[test]
fn products_built_with_the_library_before_run_unchanged() {
    run("v4");
}
