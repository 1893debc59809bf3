//! Why a step could not be done.

use tokio_postgres::error::SqlState;

use crate::link::LinkError;

/// Why a step could not be done. Never holds a secret or SQL with one.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// No cluster of that name is configured.
    #[error("cluster `{0}` is not configured on this server")]
    UnknownCluster(String),
    /// The cluster cannot be reached, or refused us; worth trying again.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Something of that name exists and does not carry this tenant's mark.
    #[error("{object} exists and was not made for this tenant: {found}")]
    Foreign {
        /// What, for example: database `aurora_onboarding`.
        object: String,
        /// The mark that was found, or that there is none.
        found: String,
    },
    /// The admin role lacks a right.
    #[error("the provisioning role may not {action}: {reason}")]
    Privilege {
        /// What was tried.
        action: String,
        /// What PostgreSQL said.
        reason: String,
    },
    /// A claim that must hold did not: the step fails and nothing is handed out.
    #[error("isolation is not proved: {0}")]
    NotProved(String),
    /// PostgreSQL refused a statement.
    #[error("{action} failed: {reason}")]
    Sql {
        /// Which step, for whom.
        action: String,
        /// SQLSTATE and message.
        reason: String,
        /// True for lost connections, serialisation failures, shutdowns, full disks: try again.
        transient: bool,
    },
}

impl ProvisionError {
    /// Returns true when the same step may succeed later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Link(LinkError::Unreachable { .. }) => true,
            Self::Sql { transient, .. } => *transient,
            _ => false,
        }
    }

    /// Returns the error of work in the background that did not end.
    ///
    /// A cancelled task says that the process ends, and nothing about the step: it is done again
    /// at the next start, and must never count as given up.
    pub(super) fn unfinished(action: &str, error: &tokio::task::JoinError) -> Self {
        Self::Sql {
            action: action.to_owned(),
            reason: error.to_string(),
            transient: error.is_cancelled(),
        }
    }

    /// Returns true when something was gone that was there when we looked: another session
    /// removes it, too. Looking again tells.
    pub(super) fn is_vanished(&self) -> bool {
        let Self::Sql { reason, .. } = self else {
            return false;
        };
        [
            SqlState::UNDEFINED_OBJECT,
            SqlState::INVALID_CATALOG_NAME,
            SqlState::INVALID_SCHEMA_NAME,
        ]
        .iter()
        .any(|code| reason.ends_with(&format!("({})", code.code())))
    }
}

/// Sorts an error of the driver into what a caller can act on.
pub(in crate::provision) fn sql_error(
    action: &str,
    error: &tokio_postgres::Error,
) -> ProvisionError {
    let Some(db) = error.as_db_error() else {
        // The driver's own errors are lost connections, or bugs that trying again does not hide
        // for long.
        return ProvisionError::Sql {
            action: action.to_owned(),
            reason: error.to_string(),
            transient: true,
        };
    };
    let reason = crate::link::redis::printable(&format!("{} ({})", db.message(), db.code().code()));
    if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE {
        return ProvisionError::Privilege {
            action: action.to_owned(),
            reason,
        };
    }
    ProvisionError::Sql {
        action: action.to_owned(),
        reason,
        transient: is_transient(db.code(), db.message(), db.schema()),
    }
}

fn is_transient(code: &SqlState, message: &str, schema: Option<&str>) -> bool {
    // Classes: connection, rollback, resources, operator intervention, system.
    let class = &code.code()[..2];
    if matches!(class, "08" | "40" | "53" | "57" | "58") {
        return true;
    }
    match *code {
        // Somebody made it in between: the next attempt sees it, and whose it is.
        SqlState::DUPLICATE_OBJECT
        | SqlState::DUPLICATE_DATABASE
        | SqlState::DUPLICATE_SCHEMA
        // `source database "template0" is being accessed by other users`; sessions that have not
        // ended yet; a standby that is being promoted.
        | SqlState::OBJECT_IN_USE
        | SqlState::LOCK_NOT_AVAILABLE
        | SqlState::READ_ONLY_SQL_TRANSACTION => true,
        SqlState::UNIQUE_VIOLATION => schema == Some("pg_catalog"),
        SqlState::INTERNAL_ERROR => message.contains("tuple concurrently"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        for (code, message, schema, transient) in [
            (
                SqlState::INTERNAL_ERROR,
                "tuple concurrently updated",
                None,
                true,
            ),
            (SqlState::INTERNAL_ERROR, "cache lookup failed", None, false),
            (SqlState::T_R_DEADLOCK_DETECTED, "", None, true),
            (SqlState::ADMIN_SHUTDOWN, "", None, true),
            (SqlState::DISK_FULL, "", None, true),
            (SqlState::UNIQUE_VIOLATION, "", Some("pg_catalog"), true),
            (SqlState::UNIQUE_VIOLATION, "", Some("public"), false),
            (SqlState::SYNTAX_ERROR, "", None, false),
            (SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "", None, false),
        ] {
            assert_eq!(is_transient(&code, message, schema), transient, "{code:?}");
        }
    }

    #[test]
    fn work_that_ends_with_the_process_is_done_again_and_a_panic_is_not() {
        let other = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let ending = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = ending.handle().clone();
        ending.shutdown_background();
        let cancelled = other.block_on(handle.spawn_blocking(|| ())).unwrap_err();
        assert!(cancelled.is_cancelled());
        assert!(ProvisionError::unfinished("set up roles", &cancelled).is_transient());

        let panicked = other
            .block_on(async { tokio::task::spawn_blocking(|| panic!("planted")).await })
            .unwrap_err();
        assert!(!ProvisionError::unfinished("set up roles", &panicked).is_transient());
    }
}
