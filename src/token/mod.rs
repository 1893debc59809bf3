//! Tokens: inspect, verify, mint.

pub mod mint;

pub use mint::{Claims, MintError, SigningKey, SigningKeyError, TokenType, mint};
