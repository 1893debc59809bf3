//! Secrets as data: where to get them, not what they are.

use std::fmt;
use std::path::PathBuf;

use super::problem::Problem;
use crate::secret::{REDACTED, Secret};

/// Where a secret is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretReference {
    /// Right here.
    Inline(Secret),
    /// In a variable of the process.
    Environment(String),
    /// In a file; one trailing newline does not count.
    File(PathBuf),
    /// On standard input; one trailing newline does not count.
    Stdin,
    /// In the keyring, under this name.
    Keyring(String),
    /// On the standard output of a program that is started without a shell.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// Why the program must not be run, if it must not.
        refused: Option<String>,
    },
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str(REDACTED),
            Self::Environment(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Stdin => f.write_str("standard input"),
            Self::Keyring(entry) => write!(f, "keyring entry {entry}"),
            Self::Command { argv, .. } => {
                write!(f, "command {}", argv.first().map_or("", String::as_str))
            }
        }
    }
}

/// Turns references into secrets: the only part of configuration that touches the world.
pub trait SecretSource {
    /// Returns the secret that `reference` names.
    fn reveal(&self, reference: &SecretReference) -> Result<Secret, Problem>;

    /// Returns the text of a file that is not secret, such as a certificate.
    fn text(&self, path: &std::path::Path) -> Result<String, Problem>;
}

/// What a layer says about a setting.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The value itself.
    Text(String),
    /// A file that holds the value.
    File(PathBuf),
    /// A secret.
    Secret(SecretReference),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Content {
    /// Returns text that may be shown.
    pub(super) fn shown(&self) -> String {
        match self {
            // A URL with a user and a password is refused later; until then nothing of it is shown.
            Self::Text(text) if text.contains('@') => REDACTED.to_owned(),
            Self::Text(text) => super::problem::shown(text),
            Self::File(path) => path.display().to_string(),
            Self::Secret(reference) => reference.to_string(),
        }
    }
}
