//! `lerianctl help`: help on commands, and the topics that belong to none.

use clap::Args;

use super::failure::{Failure, Kind};
use super::invocation::Invocation;
use crate::config::variables;

/// Help on a command or a topic
#[derive(Debug, Args)]
#[command(after_help = "Topics: environment, exit-status, output")]
pub struct HelpArgs {
    /// Command path, or topic
    words: Vec<String>,
}

/// Exit statuses: number, kind, when, what a script should do. The README has the same table.
pub const EXIT_STATUSES: &[(&str, &str, &str, &str)] = &[
    ("0", "ok", "done, or already so", "go on"),
    ("1", "internal", "bug or unclassified", "report it"),
    (
        "2",
        "usage",
        "flags, arguments, config file, malformed input",
        "fix the call",
    ),
    (
        "3",
        "verdict",
        "ran fine, and the answer is no",
        "read the report",
    ),
    (
        "4",
        "auth",
        "no credentials, refused or expired",
        "check the API key",
    ),
    (
        "5",
        "not_found",
        "the named thing does not exist",
        "check the name",
    ),
    (
        "6",
        "conflict",
        "exists with another spec, foreign ownership, wrong state, plan changed",
        "decide",
    ),
    (
        "7",
        "unavailable",
        "network, 5xx, 429, breaker open; nothing was changed",
        "retry",
    ),
    (
        "8",
        "deadline",
        "`--timeout` passed; the operation goes on",
        "`operation wait ID`",
    ),
    (
        "9",
        "partial",
        "several targets, some failed; each is listed",
        "retry those",
    ),
    (
        "10",
        "refused",
        "confirmation needed but impossible, or declined",
        "add `--yes`",
    ),
    (
        "11",
        "unsupported",
        "this server lacks the extension",
        "upgrade it",
    ),
    ("130", "interrupted", "Ctrl-C, prompts included", "resume"),
    ("143", "terminated", "TERM", "resume"),
];

const OUTPUT: &str = "\
Standard output holds the result and nothing else; everything else goes to standard error.

  -o table   for a person; long cells are cut on a terminal, ids and slugs never
  -o json    one document with `apiVersion` and `kind`; failures are documents of kind `Error`
  -o jsonl   one object per line; the last has kind `Summary`, and without it the output was cut
  -o yaml    the JSON document as YAML
  -o csv     every column, quoted
  -o name    names only, one per line

Keys are camelCase, times RFC 3339 in UTC, numbers carry their unit in the key. Adding a key is
compatible; removing or renaming one makes a new `apiVersion`. `lerianctl schema KIND` prints the
schema of a kind.
";

/// Shows help.
pub fn help(run: &Invocation, args: &HelpArgs) -> Result<(), Failure> {
    let text = match args.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["environment"] => environment(),
        ["exit-status"] => exit_status(),
        ["output"] => OUTPUT.to_owned(),
        _ => command_help(run, &args.words)?,
    };
    run.console.out(&text);
    Ok(())
}

fn environment() -> String {
    let mut text = String::from(
        "Variables, in the order of the layers they belong to. A flag wins over its variable;\nLERIANCTL_* variables win over the products' own; those win over the config file.\n\n",
    );
    for variable in variables::VARIABLES {
        use std::fmt::Write as _;
        let default = variable
            .default()
            .map_or_else(String::new, |default| format!(" [default: {default}]"));
        let _ = writeln!(text, "  {}\n      {}{default}", variable.name, variable.doc);
    }
    text.push_str("\nVariables of `lerianctl server start`:\n\n");
    for variable in variables::SERVER_VARIABLES {
        use std::fmt::Write as _;
        let _ = writeln!(text, "  {}\n      {}", variable.name, variable.doc);
    }
    text
}

fn exit_status() -> String {
    use std::fmt::Write as _;
    EXIT_STATUSES
        .iter()
        .fold(String::new(), |mut text, (number, kind, when, then)| {
            let _ = writeln!(
                text,
                "{number:>4}  {kind:<12} {when}\n      {:<12} → {then}",
                ""
            );
            text
        })
}

fn command_help(run: &Invocation, words: &[String]) -> Result<String, Failure> {
    let mut command = super::command();
    command.build();
    let mut found = &mut command;
    for word in words {
        found = found.find_subcommand_mut(word).ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                "usage",
                format!("there is no command or topic `{}`", words.join(" ")),
            )
            .hint_command("see all commands", "lerianctl --help")
        })?;
    }
    let styled = found.render_long_help();
    Ok(if run.console.color_out {
        styled.ansi().to_string()
    } else {
        styled.to_string()
    })
}
