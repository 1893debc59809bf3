//! Where a value comes from, and what it overrode.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Origin {
    /// A flag of this call.
    Flag {
        /// With its dashes.
        name: String,
    },
    /// A variable of the process.
    Variable {
        /// Its name.
        name: String,
    },
    /// A line of a file given with `--env-file`.
    EnvFile {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The variable it sets.
        variable: String,
    },
    /// A context of the config file.
    Context {
        /// Name of the context.
        name: String,
        /// The config file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// A line of the config file outside any context.
    ConfigFile {
        /// The config file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag { name } => write!(f, "flag {name}"),
            Self::Variable { name } => write!(f, "variable {name}"),
            Self::EnvFile {
                path,
                line,
                variable,
            } => write!(f, "{variable} in {} line {line}", path.display()),
            Self::Context { name, path, line } => {
                write!(f, "context {name} ({} line {line})", path.display())
            }
            Self::ConfigFile { path, line } => {
                write!(f, "config file ({} line {line})", path.display())
            }
            Self::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    /// Returns true for a value that the process or a file of variables brought along, and that
    /// nobody typed for this call or wrote into the config file.
    pub fn is_ambient(&self) -> bool {
        matches!(self, Self::Variable { .. } | Self::EnvFile { .. })
    }
}

/// A value that lost against one of a higher layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Overridden {
    /// Where it comes from.
    pub origin: Origin,
    /// Its text; secrets redacted.
    pub value: String,
}

/// A value that knows where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
    /// What it overrode, highest first.
    pub overridden: Vec<Overridden>,
}

impl<T> Value<T> {
    /// Builds a value that overrode nothing.
    pub fn new(value: T, origin: Origin) -> Self {
        Self {
            value,
            origin,
            overridden: Vec::new(),
        }
    }

    /// Changes the value and keeps its origin.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Value<U> {
        Value {
            value: change(self.value),
            origin: self.origin,
            overridden: self.overridden,
        }
    }
}
