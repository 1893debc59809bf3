//! Trying something, and what PostgreSQL answers.

use tokio_postgres::Client;

use crate::link::LinkError;
use crate::link::postgres::{ConnectError, PostgresEndpoint, Session};
use crate::provision::ProvisionError;

/// What PostgreSQL answered to something that was tried.
pub(super) enum Answer {
    Allowed,
    Refused { sqlstate: String, message: String },
}

impl Answer {
    pub(super) fn is_refused_with(&self, code: &str) -> bool {
        matches!(self, Self::Refused { sqlstate, .. } if sqlstate == code)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allowed => f.write_str("it was allowed"),
            Self::Refused { sqlstate, message } if message.contains(sqlstate) => {
                write!(f, "refused: {message}")
            }
            Self::Refused { sqlstate, message } => write!(f, "refused: {message} ({sqlstate})"),
        }
    }
}

/// Tries a statement in a transaction that is rolled back.
pub(super) async fn attempt(
    session: &Client,
    statement: &str,
) -> Result<Answer, tokio_postgres::Error> {
    let script = format!("BEGIN; {statement}");
    // Sent together: a session is never left inside of the transaction.
    let (tried, rolled_back) = tokio::join!(
        session.batch_execute(&script),
        session.batch_execute("ROLLBACK")
    );
    rolled_back?;
    let Err(error) = tried else {
        return Ok(Answer::Allowed);
    };
    let Some(db) = error.as_db_error() else {
        return Err(error);
    };
    Ok(Answer::Refused {
        sqlstate: db.code().code().to_owned(),
        message: crate::link::redis::printable(db.message()),
    })
}

/// Tries to log in.
pub(super) async fn login(endpoint: &PostgresEndpoint) -> Result<Answer, ProvisionError> {
    match endpoint.try_connect("").await {
        Ok(session) => {
            Session::close(session).await;
            Ok(Answer::Allowed)
        }
        Err(ConnectError {
            link: LinkError::Refused { reason, .. },
            sqlstate,
        }) => Ok(Answer::Refused {
            sqlstate: sqlstate.unwrap_or_default(),
            message: reason,
        }),
        Err(error) => Err(error.link.into()),
    }
}
