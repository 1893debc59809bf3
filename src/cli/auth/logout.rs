//! `lerianctl auth logout`.

use clap::Args;

use super::{LoginReport, store};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;

/// Forget the token
///
/// The token itself is good until it ends: it is forgotten here, not withdrawn there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl auth logout")]
pub struct LogoutArgs {}

/// Forgets the login.
pub fn logout(run: &Invocation, _: &LogoutArgs) -> Result<LoginReport, Failure> {
    let server = run.server()?;
    let path = store::path(run, &server)?;
    // A file that cannot be used is removed too.
    if store::load(run, &server).is_ok_and(|login| login.is_some_and(|login| login.in_keyring())) {
        store::forget_tokens(run, &server)?;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(
            Kind::Usage,
            "output.unwritable",
            format!("the login in `{}` cannot be removed", path.display()),
        )
        .cause(error)),
        _ => Ok(LoginReport::none(server.to_string())),
    }
}
