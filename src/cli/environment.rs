//! The only reader of variables, terminals, width, home and clock; a plain struct, so that tests
//! pass their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use jiff::Timestamp;

/// Everything that a command takes from its surroundings.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    /// True when standard input is a terminal.
    pub stdin_terminal: bool,
    /// True when standard output is a terminal.
    pub stdout_terminal: bool,
    /// True when standard error is a terminal.
    pub stderr_terminal: bool,
    /// Width of the terminal on standard output, in columns.
    pub width: Option<u16>,
}

impl Environment {
    /// Reads the process's surroundings.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads variables"
    )]
    pub fn of_process() -> Self {
        let stdout_terminal = std::io::stdout().is_terminal();
        Self {
            variables: std::env::vars_os().collect(),
            stdin_terminal: std::io::stdin().is_terminal(),
            stdout_terminal,
            stderr_terminal: std::io::stderr().is_terminal(),
            width: stdout_terminal
                .then(|| console::Term::stdout().size_checked())
                .flatten()
                .map(|(_, columns)| columns),
        }
    }

    /// Returns the variable `name` when it is set, is not empty and is UTF-8.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(std::ffi::OsStr::new(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns the variable `name` as the system gives it.
    pub fn raw(&self, name: &str) -> Option<&OsString> {
        self.variables.get(std::ffi::OsStr::new(name))
    }

    /// Returns every variable whose name and value are UTF-8, empty ones included.
    pub fn text_variables(&self) -> BTreeMap<String, String> {
        self.variables
            .iter()
            .filter_map(|(name, value)| {
                Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
            })
            .collect()
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Returns the folder for configuration: `$XDG_CONFIG_HOME/lerianctl` or the system's place.
    pub fn config_folder(&self) -> Option<PathBuf> {
        self.xdg("XDG_CONFIG_HOME", directories::BaseDirs::config_dir)
    }

    /// Returns the folder for data: `$XDG_DATA_HOME/lerianctl` or the system's place.
    pub fn data_folder(&self) -> Option<PathBuf> {
        self.xdg("XDG_DATA_HOME", directories::BaseDirs::data_local_dir)
    }

    /// Returns the folder for caches: `$XDG_CACHE_HOME/lerianctl` or the system's place.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        self.xdg("XDG_CACHE_HOME", directories::BaseDirs::cache_dir)
    }

    /// Returns the folder for what is kept between runs: `$XDG_STATE_HOME/lerianctl`, or where data
    /// goes on systems without one.
    pub fn state_folder(&self) -> Option<PathBuf> {
        self.xdg("XDG_STATE_HOME", |base| {
            base.state_dir().unwrap_or_else(|| base.data_local_dir())
        })
    }

    fn xdg(
        &self,
        variable: &str,
        fallback: fn(&directories::BaseDirs) -> &std::path::Path,
    ) -> Option<PathBuf> {
        self.raw(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| directories::BaseDirs::new().map(|base| fallback(&base).to_owned()))
            .map(|folder| folder.join("lerianctl"))
    }
}
