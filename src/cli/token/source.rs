//! Where a token comes from: never from the command line itself.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::secret::Secret;

/// Longest input; a token is far smaller, and says so itself.
const INPUT_BYTES: u64 = 1024 * 1024;

/// Where the token comes from; standard input when nothing else is said.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// `-` for standard input, which is also the default
    #[arg(value_name = "-", conflicts_with_all = ["file", "variable"])]
    input: Option<String>,

    /// Caught here, so that the refusal does not repeat it.
    #[arg(hide = true)]
    more: Vec<String>,

    /// Read the token from a file
    #[arg(long, value_name = "FILE", conflicts_with = "variable")]
    file: Option<PathBuf>,

    /// Read the token from a variable
    #[arg(long, value_name = "NAME")]
    variable: Option<String>,
}

impl Source {
    /// Reads the text of the token.
    pub(super) fn read(&self, run: &Invocation) -> Result<Secret, Failure> {
        if self.input.iter().chain(&self.more).any(|word| word != "-") {
            return Err(refused());
        }
        if let Some(name) = &self.variable {
            return variable(run, name, "the token");
        }
        let path = self.file.as_deref().unwrap_or(Path::new("-"));
        if looks_like_token(&path.to_string_lossy()) {
            return Err(refused());
        }
        let bytes = run.read_input(path, INPUT_BYTES, "the token")?;
        Ok(Secret::new(String::from_utf8_lossy(&bytes)))
    }
}

/// Reads a secret from a variable.
pub(super) fn variable(run: &Invocation, name: &str, what: &str) -> Result<Secret, Failure> {
    if looks_like_token(name) {
        return Err(refused());
    }
    run.environment
        .variable(name)
        .map(Secret::new)
        .ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                "input.variable_unset",
                format!(
                    "{what} is to come from the variable `{name}`, which is not set or is empty"
                ),
            )
        })
}

/// The refusal of a token on the command line; repeats nothing of it.
fn refused() -> Failure {
    Failure::new(
        Kind::Usage,
        "input.secret_in_argument",
        "a token does not belong on the command line: every process of this machine can read it there, and the shell keeps it in its history",
    )
    .hint_command("pipe it in", "lerianctl token inspect - < token.txt")
    .hint_command("or name a variable that holds it", "lerianctl token inspect --variable TOKEN")
    .hint("take the token for leaked when others use this machine")
}

/// Returns true for what cannot be meant as the name of a file or variable.
fn looks_like_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.len() > 40
}
