//! Names of what the audit log tells of. More are put together from the route of a request
//! (`tenant.suspend`, `service.remove`).

/// Credentials were asked for.
pub const CREDENTIALS_READ: &str = "credentials.read";
/// A request was refused for who made it.
pub const AUTH_REFUSED: &str = "auth.refused";
/// A check of isolation was asked for.
pub const ISOLATION_ASK: &str = "isolation.ask";
/// The server began, or ended, a check of isolation of its own.
pub const ISOLATION_CHECK: &str = "isolation.check";
/// An API key was made.
pub const KEY_CREATE: &str = "key.create";
/// An API key was replaced by a new one.
pub const KEY_ROTATE: &str = "key.rotate";
/// An API key was withdrawn.
pub const KEY_REVOKE: &str = "key.revoke";
/// The keys that servers are started with were replaced.
pub const KEYS_BOOTSTRAP: &str = "keys.bootstrap";
/// The first keys of the registry were made, or brought over.
pub const KEYS_CREATE: &str = "keys.create";
/// A new key for records was made.
pub const KEYS_REKEY: &str = "keys.rekey";
/// Records were sealed with the active key.
pub const KEYS_RESEAL: &str = "keys.reseal";
/// Keys were wrapped with another master key.
pub const KEYS_REWRAP: &str = "keys.rewrap";
/// An operation ended.
pub const OPERATION_END: &str = "operation.end";
/// A step of an operation changed what is handed out, or what is known.
pub const OPERATION_STEP: &str = "operation.step";
/// The server started.
pub const SERVER_START: &str = "server.start";
/// The server stopped in good order.
pub const SERVER_STOP: &str = "server.stop";
/// A tenant was associated with a service.
pub const SERVICE_ADD: &str = "service.add";
/// A service of a tenant was suspended.
pub const SERVICE_SUSPEND: &str = "service.suspend";
/// A tenant was created.
pub const TENANT_CREATE: &str = "tenant.create";
/// A tenant was reactivated.
pub const TENANT_REACTIVATE: &str = "tenant.reactivate";
/// A tenant was changed.
pub const TENANT_UPDATE: &str = "tenant.update";
/// The isolation of a tenant was tried.
pub const TENANT_VERIFY: &str = "tenant.verify";
