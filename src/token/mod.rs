//! Tokens: inspect, verify, mint.
