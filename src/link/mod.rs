//! Links to PostgreSQL and Redis: endpoints, TLS, deadlines. Shared by every core module.

pub mod postgres;
pub mod redis;
pub mod tls;
pub mod trace;

/// Why a server could not be reached or refused us. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is not usable.
    #[error("{what} is not a valid address: {reason}")]
    Address {
        /// Which setting.
        what: String,
        /// The rule that it breaks, without the password.
        reason: String,
    },
    /// No answer.
    #[error("{target} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`.
        target: String,
        /// What the network said.
        reason: String,
    },
    /// It answered, and refused the login.
    #[error("{target} refused the login: {reason}")]
    Refused {
        /// `host:port`, with database and user where there are some.
        target: String,
        /// What the server said.
        reason: String,
    },
    /// It answered, and refused a request: no permission, wrong role, not what we speak.
    #[error("{target} refused: {reason}")]
    Rejected {
        /// `host:port`.
        target: String,
        /// What the server said.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("TLS with {target} failed: {reason}")]
    Tls {
        /// `host:port`.
        target: String,
        /// What went wrong.
        reason: String,
    },
}
