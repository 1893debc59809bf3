//! Completion in a shell: what TAB offers, from where, and that it never disturbs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Play, Postgres, Sandbox, Script, ServerProcess};

/// What a bash in `room` offers for the last of `words`, with what it wrote to stderr.
fn bash(room: &Sandbox, words: &[&str]) -> (Vec<String>, String) {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_lerianctl"));
    let folder = binary.parent().unwrap().display();
    let script = format!(
        "PATH={folder}:$PATH\n\
         source <(lerianctl completion bash) || exit 9\n\
         complete -p lerianctl >/dev/null || exit 8\n\
         COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9\n\
         _clap_complete_lerianctl lerianctl \"${{COMP_WORDS[COMP_CWORD]}}\"\n\
         [ ${{#COMPREPLY[@]}} = 0 ] || printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    let template = room.command([""; 0]);
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", &script, "bash", "lerianctl"])
        .args(words)
        .current_dir(room.home())
        .env_clear()
        .envs(
            template
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .output()
        .expect("bash can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    assert!(output.status.success(), "{output:?}");
    let offered = text(output.stdout)
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    (offered, text(output.stderr))
}

/// As [`bash`], where nothing may be written to stderr.
fn offered(room: &Sandbox, words: &[&str]) -> Vec<String> {
    let (offered, stderr) = bash(room, words);
    assert_eq!(stderr, "", "{words:?}");
    offered
}

#[test]
fn commands_flags_and_values_are_offered() {
    let room = Sandbox::new();
    assert_eq!(offered(&room, &["tenant", "sh"]), ["show"]);
    assert_eq!(offered(&room, &["ten"]), ["tenant"]);
    assert_eq!(
        offered(&room, &["tenant", "purge", "acme", "--conf"]),
        ["--confirm", "--confirm-context", "--config"]
    );
    assert_eq!(
        offered(&room, &["tenant", "create", "Acme", "--service", "led"]),
        ["ledger"]
    );
    assert_eq!(
        offered(&room, &["explain", "tenant.conf"]),
        ["tenant.conflict"]
    );
}

#[test]
fn contexts_come_from_the_config_file() {
    let room = Sandbox::new();
    let config = "version = 1\n\
        [context.staging]\nserver = \"https://a.example\"\n\
        [context.production]\nserver = \"https://b.example\"\n";
    room.write(".config/lerianctl/config.toml", config);
    assert_eq!(
        offered(&room, &["--context", "st"]),
        ["staging"],
        "from the usual place"
    );
    let path = room.write("other.toml", config.replace("staging", "stage-two"));
    let path = path.to_str().unwrap();
    assert_eq!(
        offered(&room, &["--config", path, "--context", "st"]),
        ["stage-two"],
        "from the file that was typed"
    );
}

#[test]
fn tenants_come_from_the_server_and_then_from_a_cache() {
    let mut server = ServerProcess::start(&Postgres::shared().endpoint(), None);
    let room = server.room();
    for name in ["Banco Aurora", "Banco Brisa", "Other"] {
        room.run(["tenant", "create", name, "--quiet"]).success();
    }
    assert_eq!(
        offered(&room, &["tenant", "show", "banco"]),
        ["banco-aurora", "banco-brisa"]
    );
    server.kill();
    assert_eq!(
        offered(&room, &["tenant", "purge", "banco-b"]),
        ["banco-brisa"],
        "within a minute nobody is asked again"
    );
}

#[test]
fn a_server_that_hangs_costs_little_once_and_nothing_after_that() {
    let script = Script::answer(|_, _| Play::Hang);
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", script.url())
        .with("LERIANCTL_API_KEY", "a-key-that-nobody-knows")
        .with("LERIANCTL_LOG", "debug");
    let begun = Instant::now();
    assert_eq!(offered(&room, &["tenant", "show", "a"]), [""; 0]);
    assert_eq!(offered(&room, &["operation", "wait", "0"]), [""; 0]);
    assert_eq!(offered(&room, &["tenant", "show", "b"]), [""; 0]);
    // Far less than one request to the server may take.
    assert!(begun.elapsed() < Duration::from_secs(15), "{begun:?}");
    let asked: Vec<String> = script.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(asked.len(), 2, "one for each kind of name: {asked:?}");
}

#[test]
fn nothing_is_started_read_or_written_for_a_candidate() {
    let script = Script::answer(|_, _| Play::Hang);
    let room = Sandbox::new();
    let config = format!(
        "version = 1\ncurrent-context = \"a\"\n[context.a]\nserver = \"{}\"\n\
         api-key = {{ command = [\"touch\", \"{}/started\"] }}\n\
         nonsense = 1\n",
        script.url(),
        room.home().display()
    );
    let path = room.write(".config/lerianctl/config.toml", config);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(offered(&room, &["tenant", "show", "a"]), [""; 0]);
    assert!(!room.home().join("started").exists());
    let typed = ["--api-key-file", "-", "tenant", "show", "a"];
    assert_eq!(offered(&room, &typed), [""; 0]);
    assert_eq!(script.sent(), 0);
    // A broken file is no reason to disturb either.
    std::fs::write(&path, "version = [").unwrap();
    assert_eq!(offered(&room, &["tenant", "show", "a"]), [""; 0]);
    assert_eq!(offered(&room, &["--context", "a"]), [""; 0]);
}
