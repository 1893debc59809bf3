//! Lifecycle events: publish and tail.
