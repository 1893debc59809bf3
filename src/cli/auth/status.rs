//! `lerianctl auth status`.

use clap::Args;

use super::{LoginReport, store};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;

/// Show who is logged in, and until when
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl auth status -o json | jq .loggedIn")]
pub struct StatusArgs {}

/// Shows the login.
pub fn status(run: &Invocation, _: &StatusArgs) -> Result<LoginReport, Failure> {
    let server = run.server()?;
    let login = store::load(run, &server)?;
    Ok(login.map_or_else(
        || LoginReport::none(server.to_string()),
        |login| LoginReport::of(&login),
    ))
}
