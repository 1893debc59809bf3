//! Tokens: inspect, verify, mint.

pub mod identity;
pub mod inspect;
pub mod jwks;
pub mod keys;
pub mod mint;
pub mod parse;
pub mod route;
pub mod validity;
pub mod verify;
pub mod warning;

pub use identity::{Identity, Unacceptable, identify};
pub use inspect::{Bearer, Inspection, TenantClaim, TenantState, inspect};
pub use keys::{KeyError, Keys};
pub use mint::{Claims, MintError, SigningKey, SigningKeyError, TokenType, mint};
pub use parse::{LARGEST_TOKEN, Members, Part, TokenError};
pub use route::{Answer, Connection, Layer, Route, RouteAnswer, route, tenant_to_ask_for};
pub use validity::{Validity, ValidityState};
pub use verify::{Reason, Verification, verify};
pub use warning::{Severity, Warning};
