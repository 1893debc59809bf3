//! The Tenant Manager: routes, service, registry, outbox, operations.
