//! From the errors of core modules to failures: one `From` each, without wildcard arms, so that a
//! new error does not compile until someone has chosen its exit status.

use super::failure::{Failure, Kind};
use crate::link::LinkError;
use crate::server::ServerError;

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
            ServerError::Listener(_) => {
                Self::new(Kind::Unavailable, "server.listen", error.to_string())
            }
        }
    }
}
impl From<crate::client::ClientError> for Failure {
    fn from(_: crate::client::ClientError) -> Self {
        unimplemented!()
    }
}
