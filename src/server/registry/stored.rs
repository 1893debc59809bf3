//! How things are stored, alike in every implementation.

use jiff::Timestamp;

use super::{AssociationState, DatabaseState, RegistryError, Tenant};
use crate::contract::admin::{OperationState, TenantStatus};
use crate::contract::wire::IsolationMode;

/// Returns the stored form of a time.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// Returns the time of a stored form.
pub(super) fn timestamp(micros: i64) -> Result<Timestamp, RegistryError> {
    Timestamp::from_microsecond(micros)
        .map_err(|error| RegistryError::Corrupt(format!("a time is out of range: {error}")))
}

/// Understands a stored identifier.
pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, RegistryError>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| RegistryError::Corrupt(error.to_string()))
}

/// Understands stored JSON.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, RegistryError> {
    serde_json::from_str(text).map_err(|error| RegistryError::Corrupt(error.to_string()))
}

/// Returns the stored form of a value.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, RegistryError> {
    serde_json::to_string(value).map_err(|error| RegistryError::Corrupt(error.to_string()))
}

/// Understands a stored isolation mode.
pub(super) fn mode(word: &str) -> Result<IsolationMode, RegistryError> {
    IsolationMode::parse(word)
        .ok_or_else(|| RegistryError::Corrupt(format!("unknown isolation mode `{word}`")))
}

/// Understands a stored status of a tenant.
pub(super) fn tenant_status(word: &str) -> Result<TenantStatus, RegistryError> {
    match word {
        "active" => Ok(TenantStatus::Active),
        "suspended" => Ok(TenantStatus::Suspended),
        "purged" => Ok(TenantStatus::Purged),
        other => Err(RegistryError::Corrupt(format!("unknown status `{other}`"))),
    }
}

/// Understands a stored state of an association.
pub(super) fn association_state(word: &str) -> Result<AssociationState, RegistryError> {
    match word {
        "live" => Ok(AssociationState::Live),
        "suspended" => Ok(AssociationState::Suspended),
        "purged" => Ok(AssociationState::Purged),
        other => Err(RegistryError::Corrupt(format!("unknown state `{other}`"))),
    }
}

/// Understands a stored state of a database.
pub(super) fn database_state(word: &str) -> Result<DatabaseState, RegistryError> {
    match word {
        "pending" => Ok(DatabaseState::Pending),
        "ready" => Ok(DatabaseState::Ready),
        "retained" => Ok(DatabaseState::Retained),
        "dropped" => Ok(DatabaseState::Dropped),
        other => Err(RegistryError::Corrupt(format!("unknown state `{other}`"))),
    }
}

/// Returns the stored form of a state of an operation.
pub(super) fn state_number(state: OperationState) -> i32 {
    match state {
        OperationState::Pending => 0,
        OperationState::Running => 1,
        OperationState::Succeeded => 2,
        OperationState::Failed => 3,
    }
}

/// Understands a stored state of an operation.
pub(super) fn state(number: i32) -> Result<OperationState, RegistryError> {
    [
        OperationState::Pending,
        OperationState::Running,
        OperationState::Succeeded,
        OperationState::Failed,
    ]
    .into_iter()
    .find(|state| state_number(*state) == number)
    .ok_or_else(|| RegistryError::Corrupt(format!("unknown state {number}")))
}

/// Returns what a search looks at.
pub(super) fn search_text(tenant: &Tenant) -> String {
    format!(
        "{}\n{}\n{}\n{}",
        tenant.slug,
        tenant.id,
        tenant.name.to_lowercase(),
        tenant.owner.email.to_lowercase()
    )
}
