//! `lerianctl audit …`: who did what, and proof that nobody changed the record of it.

pub mod export;
pub mod head;
pub mod list;
pub mod verify;

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};

use super::invocation::Invocation;

/// Who did what, and proof that the record of it was not changed
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List entries of the audit log, newest first
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Verify the audit log of the server, or one that was exported
    Verify(verify::VerifyArgs),
    /// Write the audit log as lines that can be verified without the server
    Export(export::ExportArgs),
    /// Print the end of the audit log, to be kept elsewhere
    Head(head::HeadArgs),
}

impl AuditCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Verify(args) => run.emit(verify::verify(run, args)),
            Self::Export(args) => export::run(run, args),
            Self::Head(args) => run.emit(head::head(run, args)),
        }
    }
}

/// Understands a time, or how long ago it was.
pub fn moment(text: &str) -> Result<String, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.to_string());
    }
    let ago = super::globals::duration(text).map_err(
        |_| "it is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 24h",
    )?;
    let ago = SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    let at = Timestamp::now()
        .checked_sub(ago)
        .map_err(|error| error.to_string())?;
    Ok(at.to_string())
}
