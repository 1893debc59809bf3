//! Lifecycle events: publish and tail.

pub mod effect;
pub mod publisher;
pub mod received;
pub mod tail;

pub use effect::{Deviation, Effect};
pub use publisher::Publisher;
pub use received::{Filter, Malformed, Received};
pub use tail::{Item, Subscription, TailError, tail};
