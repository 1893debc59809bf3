//! From the errors of core modules to failures: one `From` each, without wildcard arms, so that a
//! new error does not compile until someone has chosen its exit status.

use super::failure::{Failure, Kind};
use crate::client::{ClientError, ErrorKind};
use crate::devstack::DevstackError;
use crate::link::LinkError;
use crate::server::ServerError;
use crate::token::{MintError, Route, SigningKeyError, TokenError};

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        match &error {
            LinkError::Address { .. } => Self::new(Kind::Usage, "link.address", error.to_string()),
            LinkError::Unreachable { .. } => {
                Self::new(Kind::Unavailable, "link.unreachable", error.to_string())
                    .hint("check that it runs, and that host and port are right")
            }
            LinkError::Refused { .. } => Self::new(Kind::Auth, "link.refused", error.to_string())
                .hint("check user and password"),
            LinkError::Rejected { .. } => {
                Self::new(Kind::Conflict, "link.rejected", error.to_string())
            }
            LinkError::Tls { .. } => Self::new(Kind::Unavailable, "link.tls", error.to_string()),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match &error {
            ServerError::Registry { .. } => {
                Self::new(Kind::Conflict, "server.registry", error.to_string())
            }
            ServerError::MasterKey(_) => {
                Self::new(Kind::Auth, "server.master_key", error.to_string())
                    .hint("give the key that this registry was made with")
            }
            ServerError::NoAccess(_) => {
                Self::new(Kind::Usage, "server.no_access", error.to_string())
                    .hint("start it once with `--service-key-file`, make a key with `lerianctl key create NAME --role operator`, then start it without")
            }
            ServerError::Tls { .. } => Self::new(Kind::Usage, "server.tls", error.to_string())
                .hint("it is a PEM file; the key belongs to the certificate"),
            ServerError::Listener(_) => {
                Self::new(Kind::Unavailable, "server.listen", error.to_string())
            }
        }
    }
}

/// Returns the server's code when it has a page of its own; a code without a noun says nothing.
fn explained(code: &str) -> Option<&'static str> {
    super::explain::codes().find(|known| *known == code && known.contains('.'))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (kind, general) = match &error.kind {
            ErrorKind::Usage => (Kind::Usage, "request.invalid"),
            ErrorKind::Auth => (Kind::Auth, "auth.refused"),
            // Fail closed: to a product, such a tenant is forbidden.
            ErrorKind::Suspended { .. } => (Kind::Auth, "tenant.suspended"),
            ErrorKind::NotFound => (Kind::NotFound, "manager.not_found"),
            ErrorKind::Conflict => (Kind::Conflict, "manager.conflict"),
            ErrorKind::Unsupported => (Kind::Unsupported, "manager.unsupported"),
            ErrorKind::Unavailable => (Kind::Unavailable, "manager.unavailable"),
            ErrorKind::BreakerOpen { .. } => (Kind::Unavailable, "manager.breaker_open"),
            ErrorKind::Deadline => (Kind::Deadline, "deadline.passed"),
            ErrorKind::Protocol => (Kind::Unavailable, "manager.protocol"),
        };
        let own = explained(error.code());
        let said = error.answer.as_ref().map(|answer| answer.message.clone());
        let code = own.unwrap_or(general);
        let mut failure = match (said.filter(|text| !text.is_empty()), error.status()) {
            // The server's sentence is the message; what is left to say is where it was said.
            (Some(text), Some(status)) => {
                Self::new(kind, code, text).cause(format!("{} answered {status}", error.request))
            }
            _ => Self::new(kind, code, error.to_string()),
        }
        .request(error.request_id.clone());
        if error.outcome_unknown.is_some() {
            return failure.hint(
                "the change may have been made: look at the tenant, then run the same command again, which is safe",
            );
        }
        if error.code() == "isolation.unsupported" {
            failure =
                failure.hint("choose `--isolation database`, or accept the risk with `--force`");
        }
        match &error.kind {
            ErrorKind::Auth => failure.hint("check the API key and where it comes from: `lerianctl config explain api-key`"),
            ErrorKind::Unsupported => failure.hint(
                "this command needs an extension that only lerianctl's Tenant Manager has; upgrade the server, or check the URL",
            ),
            ErrorKind::Unavailable => failure.hint("check that the server runs and that its URL is right: `lerianctl config explain server`"),
            ErrorKind::Protocol => failure.hint("check that the URL is that of a Tenant Manager: `lerianctl config explain server`"),
            ErrorKind::NotFound
            | ErrorKind::Usage
            | ErrorKind::Suspended { .. }
            | ErrorKind::Conflict
            | ErrorKind::BreakerOpen { .. }
            | ErrorKind::Deadline => failure,
        }
    }
}

impl From<DevstackError> for Failure {
    fn from(error: DevstackError) -> Self {
        let text = error.to_string();
        match error {
            DevstackError::Missing(missing) => {
                let failure = Self::new(Kind::Usage, "dev.missing_program", text);
                match missing.install_command() {
                    Some(command) => failure.hint_command("install it", command),
                    None => {
                        failure.hint("install it, or name its folder with `--postgres-bin DIR`")
                    }
                }
            }
            DevstackError::Folder { .. } => Self::new(Kind::Conflict, "dev.folder", text),
            DevstackError::Busy { .. } => Self::new(Kind::Conflict, "dev.busy", text)
                .hint_command("look at it", "lerianctl dev status")
                .hint_command("stop it", "lerianctl dev down"),
            DevstackError::NoAccount { .. } => Self::new(Kind::Usage, "dev.no_account", text),
            DevstackError::Failed { .. } => Self::new(Kind::Unavailable, "dev.server_failed", text),
            DevstackError::Deadline { .. } => {
                Self::new(Kind::Unavailable, "dev.server_deadline", text)
            }
            DevstackError::Link(error) => Self::from(error),
            DevstackError::Io { .. } => Self::new(Kind::Unavailable, "dev.files", text),
        }
    }
}

impl From<SigningKeyError> for Failure {
    fn from(error: SigningKeyError) -> Self {
        match error {
            SigningKeyError::NotAKey | SigningKeyError::Refused(_) => {
                Self::new(Kind::Conflict, "token.signing_key", error.to_string())
            }
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let failure = Self::new(Kind::Usage, error.code(), error.to_string());
        let failure = match Route::of_error(&error).answer {
            Some(answer) => failure.cause(format!(
                "a product answers {} `{}`",
                answer.status,
                answer.code.unwrap_or_default()
            )),
            None => failure,
        };
        match error {
            TokenError::Document {
                field: Some(field), ..
            } => failure.hint_command(
                "take the token out of the document",
                format!("jq -r .{field} answer.json | lerianctl token inspect -"),
            ),
            TokenError::Empty
            | TokenError::TooLarge { .. }
            | TokenError::Document { field: None }
            | TokenError::Parts { .. }
            | TokenError::Encrypted
            | TokenError::Base64 { .. }
            | TokenError::Json { .. }
            | TokenError::NotAnObject { .. } => failure,
        }
    }
}

impl From<MintError> for Failure {
    fn from(error: MintError) -> Self {
        match &error {
            MintError::ReservedClaim(_) | MintError::IncompleteHuman(_) | MintError::Lifetime => {
                Self::new(Kind::Usage, "token.claims", error.to_string())
            }
            MintError::Signing(_) => Self::new(Kind::Internal, "internal", error.to_string()),
        }
    }
}
