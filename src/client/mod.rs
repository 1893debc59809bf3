//! Tenant Manager client: retry, breaker, cache, limits.
