//! `lerianctl dev status`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use super::{DataArgs, never_started};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::devstack::stack::{self, Health, ServerStatus};
use crate::output::{Report, Tone, View};

/// Show whether the stack runs, and where
///
/// Status 3 when it does not run or does not answer.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl dev status\n  lerianctl dev status -o json | jq -r .server"
)]
pub struct StatusArgs {
    #[command(flatten)]
    data: DataArgs,
}

/// Looks at the stack.
pub fn status(run: &Invocation, args: &StatusArgs) -> Result<StatusReport, Failure> {
    let folder = args.data.folder(run)?;
    let status = run
        .block_on(stack::status(&folder))?
        .ok_or_else(|| never_started(&folder))?;
    Ok(StatusReport {
        data: status.data,
        running: status.running,
        ready: status.ready,
        pid: status.supervisor,
        server: status.server.filter(|_| status.running),
        postgres: status.postgres.map(Part::from),
        redis: status.redis.map(Part::from),
    })
}

/// One server of the stack.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Part {
    /// Whether it is a private one of this stack.
    managed: bool,
    host: String,
    port: u16,
    /// Process, when a private one runs.
    pid: Option<u32>,
    /// `answers`, `silent` or `stopped`.
    health: &'static str,
}

impl From<ServerStatus> for Part {
    fn from(status: ServerStatus) -> Self {
        Self {
            managed: status.managed,
            host: status.host,
            port: status.port,
            pid: status.pid,
            health: match status.health {
                Health::Answers => "answers",
                Health::Silent => "silent",
                Health::Stopped => "stopped",
            },
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.host, self.port, self.health)?;
        if !self.managed {
            f.write_str(", not ours")?;
        }
        match self.pid {
            Some(pid) => write!(f, ", process {pid}"),
            None => Ok(()),
        }
    }
}

/// What is known of the stack.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct StatusReport {
    /// Folder with its data.
    data: PathBuf,
    /// Whether a process runs it.
    running: bool,
    /// Whether everything answered when it started.
    ready: bool,
    /// That process.
    pid: Option<u32>,
    /// URL of the Tenant Manager.
    server: Option<String>,
    postgres: Option<Part>,
    redis: Option<Part>,
}

impl Report for StatusReport {
    const KIND: &'static str = "DevStatus";

    fn human(&self, out: &mut View) -> fmt::Result {
        let (tone, word) = match (self.running, self.ok()) {
            (true, true) => (Tone::Good, "running"),
            (true, false) => (Tone::Warn, "running, but not everything answers"),
            (false, _) => (Tone::Warn, "not running"),
        };
        out.paint(tone, word).line();
        let text = |part: &Option<Part>| part.as_ref().map_or_else(String::new, Part::to_string);
        out.fields(&[
            ("server", self.server.clone().unwrap_or_default()),
            ("postgres", text(&self.postgres)),
            ("redis", text(&self.redis)),
            ("data", self.data.display().to_string()),
        ]);
        Ok(())
    }

    fn ok(&self) -> bool {
        let answers = |part: &Option<Part>| part.as_ref().is_some_and(|it| it.health == "answers");
        self.running && self.ready && answers(&self.postgres) && answers(&self.redis)
    }
}
