//! Lifecycle events: publish and tail.

pub mod publisher;

pub use publisher::Publisher;
