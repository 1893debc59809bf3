//! Proofs: what a tenant's login can and cannot reach, found by trying.
