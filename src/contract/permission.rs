//! Roles and permissions: who may do what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a caller may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A product: reads what its own services need, and nothing of `/v1/admin`.
    Service,
    /// Looks at everything but credentials, changes nothing.
    ReadOnly,
    /// Changes what can be undone.
    Operator,
    /// May do everything, also what cannot be undone; every use is logged loudly.
    BreakGlass,
}

impl Role {
    /// Returns the word for wire, logs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::BreakGlass => "break-glass",
        }
    }
}
