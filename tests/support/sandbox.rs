//! A clean room for the binary.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs the binary with an empty environment, a home of its own and a fixed width.
///
/// Everything below [`Sandbox::home`] is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Sandbox {
    home: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
    names: Vec<(String, String)>,
}

impl Sandbox {
    /// Makes an empty room.
    #[must_use]
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder can be made");
        Self {
            home,
            environment: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Returns the home folder, which is also the working folder.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Sets a variable for every later run.
    #[must_use]
    pub(crate) fn with(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.set(name, value);
        self
    }

    /// Takes a variable away from every later run.
    #[must_use]
    pub(crate) fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(known, _)| known != name.as_ref());
        self
    }

    /// Sets a variable for every later run.
    pub(crate) fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let name = name.as_ref();
        self.environment.retain(|(known, _)| known != name);
        self.environment
            .push((name.to_owned(), value.as_ref().to_owned()));
    }

    /// Shows `text` (a port, an id, a folder) as `[name]` in the normalised output.
    pub(crate) fn name(&mut self, text: impl fmt::Display, name: &str) {
        self.names.push((format!("{text}"), format!("[{name}]")));
    }

    /// Writes a file below the home folder, with the folders on its way, and returns its path.
    pub(crate) fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(path);
        std::fs::create_dir_all(path.parent().expect("it lies below the home folder"))
            .expect("a folder can be made");
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Returns the text of a file below the home folder.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.home().join(path)).expect("the file can be read")
    }

    /// Returns the command that runs the binary in this room, to be run by the caller.
    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lerianctl"));
        command
            .args(arguments)
            .current_dir(self.home())
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("COLUMNS", "100")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the binary without input and returns what it did.
    #[must_use = "a run that nobody looks at proves nothing"]
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.run_with_input(arguments, "")
    }

    /// Runs the binary with `input` on stdin and returns what it did.
    #[must_use = "a run that nobody looks at proves nothing"]
    pub(crate) fn run_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: impl AsRef<[u8]>,
    ) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        let input = input.as_ref().to_owned();
        let writer = std::thread::spawn(move || {
            // A binary that does not read its input is not an error.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("the binary ends");
        writer.join().expect("the writer ends");
        Output {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
            names: self.all_names(),
        }
    }

    /// What is replaced in the normalised output, longest first.
    fn all_names(&self) -> Vec<(String, String)> {
        let mut names = self.names.clone();
        let home = self.home();
        let mut homes = vec![home.display().to_string()];
        homes.extend(home.canonicalize().map(|path| path.display().to_string()));
        names.extend(homes.into_iter().map(|home| (home, "[HOME]".to_owned())));
        names.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        names.dedup();
        names
    }
}

/// What the binary did.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// Exit status; `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    /// Data.
    pub(crate) stdout: String,
    /// Everything else.
    pub(crate) stderr: String,
    names: Vec<(String, String)>,
}

impl Output {
    /// Fails unless the exit status is 0.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        self.exits(0)
    }

    /// Fails unless the exit status is `status`.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "unexpected exit status\n{self}");
        self
    }

    /// Returns stdout as one JSON document, which must fit the schema of its kind.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let document = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{self}"));
        self.fits(&document);
        document
    }

    #[track_caller]
    fn fits(&self, document: &serde_json::Value) {
        let problems = super::schema::problems(document);
        assert!(
            problems.is_empty(),
            "stdout does not fit its schema:\n{}\n{self}",
            problems.join("\n")
        );
    }

    /// Returns stdout as JSON documents, one per line, each fitting the schema of its kind.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| {
                let document = serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("a line is not JSON: {error}\n{self}"));
                self.fits(&document);
                document
            })
            .collect()
    }

    /// Returns `text` with the sandbox's folders and named values replaced.
    pub(crate) fn normalise(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// Status, stdout and stderr in one text, normalised: what a snapshot shows.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => writeln!(f, "exit status: {status}")?,
            None => writeln!(f, "ended by a signal")?,
        }
        for (title, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            writeln!(f, "--- {title}")?;
            let text = self.normalise(text);
            f.write_str(&text)?;
            if !text.is_empty() && !text.ends_with('\n') {
                f.write_str("[no newline]\n")?;
            }
        }
        Ok(())
    }
}
