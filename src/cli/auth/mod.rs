//! `lerianctl auth …`: who the Access Manager says you are.

pub mod login;
pub mod logout;
pub mod status;
pub mod store;

use std::fmt;

use clap::Subcommand;
use jiff::Timestamp;

use super::failure::{Failure, Kind};
use super::invocation::Invocation;
use crate::access::AccessError;
use crate::output::{Report, View};

/// Logins with the Access Manager
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Get a token and keep it for calls of this Tenant Manager
    Login(login::LoginArgs),
    /// Forget the token
    Logout(logout::LogoutArgs),
    /// Show who is logged in, and until when
    Status(status::StatusArgs),
}

impl AuthCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Login(args) => run.emit(login::login(run, args)),
            Self::Logout(args) => run.emit(logout::logout(run, args)),
            Self::Status(args) => run.emit(status::status(run, args)),
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let text = error.to_string();
        match error {
            AccessError::Unavailable(_) => Self::new(Kind::Unavailable, "auth.no_answer", text),
            AccessError::Refused { .. } => Self::new(Kind::Auth, "auth.login_refused", text),
            AccessError::SecondFactor => Self::new(Kind::Auth, "auth.second_factor", text)
                .hint("log in as an application (`--client-id`), or use an API key"),
            AccessError::Malformed(_) => Self::new(Kind::Unavailable, "auth.no_answer", text)
                .hint("check that `--access-manager` is its address"),
        }
    }
}

/// A login, without its tokens.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginReport {
    /// Whether there is a login that can be used.
    logged_in: bool,
    /// The Tenant Manager that it is for.
    server: String,
    /// The Access Manager that gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_manager: Option<String>,
    /// Person or application.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    /// End of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    expires_at: Option<Timestamp>,
    /// Whether it is renewed by itself.
    renewable: bool,
    /// Where its tokens are: `keyring` or `file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_in: Option<&'static str>,
}

impl LoginReport {
    fn none(server: String) -> Self {
        Self {
            logged_in: false,
            server,
            access_manager: None,
            who: None,
            expires_at: None,
            renewable: false,
            kept_in: None,
        }
    }

    fn of(login: &store::Login) -> Self {
        let renewable = login.renewable();
        Self {
            logged_in: renewable || login.expires_at > Timestamp::now(),
            server: login.server.clone(),
            access_manager: Some(login.access_manager.clone()),
            who: Some(login.who().to_owned()),
            expires_at: Some(login.expires_at),
            renewable,
            kept_in: Some(if login.in_keyring() {
                "keyring"
            } else {
                "file"
            }),
        }
    }
}

impl Report for LoginReport {
    const KIND: &'static str = "Login";

    fn human(&self, out: &mut View) -> fmt::Result {
        if !self.logged_in {
            out.plain(format!("not logged in at {}", self.server))
                .line();
            return Ok(());
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        out.fields(&[
            ("server", self.server.clone()),
            ("access manager", text(&self.access_manager)),
            ("who", text(&self.who)),
            (
                "until",
                self.expires_at.map(|at| at.to_string()).unwrap_or_default(),
            ),
            (
                "renewed by itself",
                if self.renewable { "yes" } else { "no" }.to_owned(),
            ),
            ("kept in", self.kept_in.unwrap_or_default().to_owned()),
        ]);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        self.who.clone()
    }
}
