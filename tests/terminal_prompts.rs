//! Questions on a real terminal: what is asked, what an answer does, what stays hidden.

use crate::support::{Postgres, Redis, Sandbox, ServerProcess, Terminal};

fn start() -> ServerProcess {
    ServerProcess::start(
        &Postgres::shared().endpoint(),
        Some(&Redis::shared().endpoint()),
    )
}

fn status(room: &Sandbox, tenant: &str) -> String {
    let tenant = room
        .run(["tenant", "show", tenant, "-o", "json"])
        .success()
        .json();
    tenant["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_purge_shows_its_plan_and_wants_the_name_typed() {
    let server = start();
    let room = server.room();
    room.run(["tenant", "create", "Typed", "--service", "tracer"])
        .success();

    let mut terminal = Terminal::run(&room, &["tenant", "purge", "typed"]);
    terminal.expect("Type `typed` to go on: ");
    terminal.type_keys("yes\r");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(10), "{screen}");
    assert!(screen.contains("nothing was changed"), "{screen}");
    let (plan, _) = screen.split_once("Type `typed`").unwrap();
    assert!(plan.contains("drop"), "the plan comes first: {screen}");
    assert_eq!(status(&room, "typed"), "active");

    // Ctrl-C is "no" as well.
    let mut terminal = Terminal::run(&room, &["tenant", "purge", "typed"]);
    terminal.expect("to go on:");
    terminal.type_keys("\u{3}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(130), "{screen}");
    assert_eq!(status(&room, "typed"), "active");

    // So is Ctrl-D, on an empty line as behind a word that was not ended.
    for keys in ["\u{4}", "typed\u{4}\u{4}"] {
        let mut terminal = Terminal::run(&room, &["tenant", "purge", "typed"]);
        terminal.expect("to go on:");
        terminal.type_keys(keys);
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(10), "{screen}");
        assert!(screen.contains("nothing was changed"), "{screen}");
        assert_eq!(status(&room, "typed"), "active");
    }

    // What may not ask is not asked, terminal or not.
    let terminal = Terminal::run(&room, &["tenant", "purge", "typed", "--no-input"]);
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(10), "{screen}");
    assert!(!screen.contains("to go on:"), "{screen}");

    let mut terminal = Terminal::run(&room, &["tenant", "purge", "typed"]);
    terminal.expect("to go on:");
    terminal.type_keys("typed\r");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(status(&room, "typed"), "purged");
}

#[test]
fn a_password_is_not_shown() {
    let server = start();
    let room = server.room();
    let create = [
        "tenant",
        "create",
        "Hidden",
        "--owner-email",
        "owner@hidden.example",
        "--ask-owner-password",
    ];
    let mut terminal = Terminal::run(&room, &create);
    terminal.expect("assword");
    terminal.type_keys("\u{4}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(10), "the end of input is no password: {screen}");

    // Ctrl-C is an answer too, and leaves the terminal as it was.
    let mut terminal = Terminal::run_then(&room, &create, "echo status $?; stty -a");
    terminal.expect("assword");
    terminal.type_keys("\u{3}");
    let (_, screen) = terminal.end();
    assert!(screen.contains("status 130"), "{screen}");
    assert!(screen.contains("nothing was changed"), "{screen}");
    let settings: Vec<&str> = screen.split([' ', '\r', '\n']).collect();
    assert!(settings.contains(&"echo"), "{screen}");

    let mut terminal = Terminal::run(&room, &create);
    for (first, second) in [
        ("correct horse battery", "correct horse staple"),
        ("correct horse battery", "correct horse battery"),
    ] {
        terminal.expect("assword");
        terminal.type_keys(&format!("{first}\r"));
        terminal.expect("Again");
        terminal.type_keys(&format!("{second}\r"));
    }
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("They differ"), "{screen}");
    assert!(!screen.contains("correct"), "{screen}");
    assert_eq!(status(&room, "hidden"), "active");
}
