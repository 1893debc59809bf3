//! `isolation check --resume`: a run that is killed goes on where it was.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::isolation_command::{CHECK, room};
use super::isolation_fleet::Fleet;
use super::support::Sandbox;

const STATE: &str = ".local/state/lerianctl/isolation/unfinished-run";

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&CHECK[..], &["--jobs", "1", "-o", "json"], more].concat()
}

/// Starts a run and kills it once a login has been tried; returns how many were.
fn cut_short(room: &Sandbox) -> usize {
    let mut child = room
        .command(with(&["--seed", "7"]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_mins(2);
    let path = room.home().join(STATE);
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("\"is\":\"tried\"") {
            break;
        }
        let ended = child.try_wait().unwrap();
        assert!(
            ended.is_none() && Instant::now() < limit,
            "{ended:?} {text}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    text.matches("\"is\":\"tried\"").count()
}

#[tokio::test]
async fn a_run_that_is_killed_goes_on_and_says_so() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    let none = room.run(with(&["--resume"])).exits(5);
    assert!(none.stderr.contains("isolation.no_sitting"), "{none}");
    let tried = cut_short(&room);
    assert!((1..3).contains(&tried), "{tried}: it had ended");
    // For its owner alone, and without a secret or a name.
    let path = room.home().join(STATE);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let kept = room.read(STATE);
    let stores = fleet.inventory.stores.iter();
    for password in stores.filter_map(|store| store.password.as_ref()) {
        assert!(!kept.contains(password.expose()), "a password is kept");
    }
    // Only the same run goes on, and only while what it tried is good.
    for more in [
        &["--resume", "--seed", "8"][..],
        &["--resume", "--check", "PG-201"],
        &["--resume", "--resume-within", "1ms"],
    ] {
        let other = room.run(with(more)).exits(6);
        assert!(other.stderr.contains("isolation.other_sitting"), "{other}");
    }
    let fewer = room
        .read("tenants.toml")
        .replace("celeste_app", "borealis_app");
    room.write("other.toml", fewer);
    let mut words = with(&["--resume"]);
    words[3] = "other.toml";
    let _ = room.run(words).exits(6);

    let report = room.run(with(&["--resume"])).success().json();
    assert_eq!(report["verdict"], "holds", "{report:#}");
    assert_eq!(report["coverage"]["seed"], 7);
    let sittings = report["sittings"].as_array().unwrap();
    let logins: Vec<_> = sittings
        .iter()
        .map(|s| s["logins"].as_u64().unwrap())
        .collect();
    assert_eq!(logins, [tried as u64, 3 - tried as u64]);
    let shown = room.run(["isolation", "show"]).success();
    assert!(shown.stdout.contains("In 2 sittings: "), "{shown}");
    // It came to its end: there is nothing to go on with, and a whole run is of one sitting.
    assert!(!path.exists());
    let _ = room.run(with(&["--resume"])).exits(5);
    let whole = room.run(with(&[])).success().json();
    assert!(whole["sittings"].is_null(), "{whole:#}");

    // What an earlier sitting found is found, though it is mended by now; what is looked at anew is
    // as it is now.
    let session = fleet.session("postgres").await;
    let leak = "ON DATABASE borealis";
    session
        .batch_execute(&format!("GRANT CONNECT {leak} TO aurora_app, celeste_app"))
        .await
        .unwrap();
    let tried = cut_short(&room);
    assert!(tried < 3, "it had ended");
    session
        .batch_execute(&format!(
            "REVOKE CONNECT {leak} FROM aurora_app, celeste_app"
        ))
        .await
        .unwrap();
    session.close().await;
    let report = room.run(with(&["--resume"])).exits(3).json();
    assert_eq!(report["verdict"], "refuted");
    let findings = report["findings"].as_array().unwrap();
    assert!(
        findings.iter().all(|finding| finding["check"] == "PG-201"),
        "{findings:#?}"
    );
}
