//! Roles and permissions: who may do what. One table, which the server enforces, the OpenAPI
//! document shows and the documentation prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use Permission::{
    AssociationsWrite, BreakGlass, ConnectionsRead, KeysRead, KeysWrite, MetadataRead, TenantsRead,
    TenantsWrite,
};

/// What a caller may do. A later one includes what the earlier ones may, but for `service`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A product: reads what its own services need, and nothing of `/v1/admin`.
    Service,
    /// Looks at everything but credentials, changes nothing.
    ReadOnly,
    /// Changes what can be undone.
    Operator,
    /// May do everything, also what cannot be undone; every use is logged loudly.
    BreakGlass,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [
        Self::Service,
        Self::ReadOnly,
        Self::Operator,
        Self::BreakGlass,
    ];

    /// Returns the word for wire, logs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::BreakGlass => "break-glass",
        }
    }

    /// Returns the role that is called `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Returns what the role may do.
    pub fn permissions(self) -> Permissions {
        let granted = Permission::ALL
            .iter()
            .filter(|permission| permission.roles().contains(&self));
        granted.copied().collect()
    }
}

/// A right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Read a tenant's connections, passwords included.
    ConnectionsRead,
    /// Read which tenants are active, and their metadata.
    MetadataRead,
    /// Look at tenants, databases and operations.
    TenantsRead,
    /// Change tenants.
    TenantsWrite,
    /// Change associations and their credentials.
    AssociationsWrite,
    /// Look at API keys, never at their text.
    KeysRead,
    /// Create, rotate and revoke API keys up to one's own role.
    KeysWrite,
    /// Look at the audit log.
    AuditRead,
    /// What cannot be undone, or overrides a safeguard.
    BreakGlass,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 9] = [
        ConnectionsRead,
        MetadataRead,
        TenantsRead,
        TenantsWrite,
        AssociationsWrite,
        KeysRead,
        KeysWrite,
        Self::AuditRead,
        BreakGlass,
    ];

    /// Returns the name as the Access Manager knows it. Those of tenants and associations are of
    /// the contract; the others follow its form.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionsRead => "backoffice:tm:connections:read",
            MetadataRead => "backoffice:tm:metadata:read",
            TenantsRead => "backoffice:tm:tenants:read",
            TenantsWrite => "backoffice:tm:tenants:write",
            AssociationsWrite => "backoffice:tm:associations:write",
            KeysRead => "backoffice:tm:keys:read",
            KeysWrite => "backoffice:tm:keys:write",
            Self::AuditRead => "backoffice:tm:audit:read",
            BreakGlass => "backoffice:tm:break-glass:write",
        }
    }

    /// Returns the permission of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// Returns product, resource and action, as the Access Manager is asked.
    pub fn parts(self) -> (&'static str, &'static str, &'static str) {
        let name = self.as_str();
        let (product, rest) = name.split_once(':').unwrap_or((name, ""));
        let (resource, action) = rest.rsplit_once(':').unwrap_or((rest, ""));
        (product, resource, action)
    }

    /// Returns one line for a person.
    pub fn what(self) -> &'static str {
        match self {
            ConnectionsRead => "read a tenant's connections, passwords included",
            MetadataRead => "read which tenants are active, and their metadata",
            TenantsRead => "look at tenants, databases and operations",
            TenantsWrite => "change tenants",
            AssociationsWrite => "change associations and their credentials",
            KeysRead => "look at API keys and at the keys that seal records, never at their text",
            KeysWrite => "create, rotate and revoke API keys up to one's own role",
            Self::AuditRead => "look at the audit log",
            BreakGlass => "what cannot be undone, or overrides a safeguard",
        }
    }

    /// Returns the roles that have it.
    pub fn roles(self) -> &'static [Role] {
        match self {
            ConnectionsRead => &[Role::Service, Role::Operator, Role::BreakGlass],
            MetadataRead => &Role::ALL,
            TenantsRead | KeysRead | Self::AuditRead => {
                &[Role::ReadOnly, Role::Operator, Role::BreakGlass]
            }
            TenantsWrite | AssociationsWrite | KeysWrite => &[Role::Operator, Role::BreakGlass],
            BreakGlass => &[Role::BreakGlass],
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// Returns true when `permission` is in the set.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Returns what is in either set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns true when everything in the set is in `other` too.
    pub fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Returns the least role, other than `service`, that may do all of it; none for an empty set.
    pub fn role(self) -> Option<Role> {
        Role::ALL[1..]
            .iter()
            .copied()
            .filter(|_| self != Self::default())
            .find(|role| self.within(role.permissions()))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, it| set | it.bit()))
    }
}

/// Method, path and the permission that a route needs. What is not here needs break-glass. Changes
/// that force something or drop data need break-glass besides, whatever the route says.
pub const ROUTES: &[(&str, &str, Permission)] = &[
    ("POST", "/v1/tenants", TenantsWrite),
    ("GET", "/v1/tenants/active", MetadataRead),
    ("GET", "/v1/tenants/{tenantId}", MetadataRead),
    ("PUT", "/v1/tenants/{tenantId}/reactivate", TenantsWrite),
    (
        "POST",
        "/v1/tenants/{tenantId}/associations/{service}",
        AssociationsWrite,
    ),
    (
        "PUT",
        "/v1/tenants/{tenantId}/associations/{service}/suspend",
        AssociationsWrite,
    ),
    (
        "GET",
        "/v1/tenants/{tenantId}/associations/{service}/connections",
        ConnectionsRead,
    ),
    (
        "GET",
        "/v1/tenants/{tenantId}/associations/{service}/principals",
        MetadataRead,
    ),
    ("GET", "/v1/admin/openapi.json", TenantsRead),
    ("GET", "/v1/admin/info", TenantsRead),
    ("GET", "/v1/admin/services", TenantsRead),
    ("GET", "/v1/admin/databases", TenantsRead),
    ("GET", "/v1/admin/tenants", TenantsRead),
    ("POST", "/v1/admin/tenants", TenantsWrite),
    ("GET", "/v1/admin/tenants/{tenant}", TenantsRead),
    ("PATCH", "/v1/admin/tenants/{tenant}", TenantsWrite),
    ("POST", "/v1/admin/tenants/{tenant}/suspend", TenantsWrite),
    (
        "POST",
        "/v1/admin/tenants/{tenant}/reactivate",
        TenantsWrite,
    ),
    (
        "POST",
        "/v1/admin/tenants/{tenant}/rotate",
        AssociationsWrite,
    ),
    ("POST", "/v1/admin/tenants/{tenant}/purge", BreakGlass),
    ("POST", "/v1/admin/tenants/{tenant}/provision", TenantsWrite),
    (
        "POST",
        "/v1/admin/tenants/{tenant}/invalidate",
        TenantsWrite,
    ),
    ("POST", "/v1/admin/tenants/{tenant}/verify", TenantsWrite),
    (
        "POST",
        "/v1/admin/tenants/{tenant}/services/{service}",
        AssociationsWrite,
    ),
    (
        "POST",
        "/v1/admin/tenants/{tenant}/services/{service}/suspend",
        AssociationsWrite,
    ),
    (
        "POST",
        "/v1/admin/tenants/{tenant}/services/{service}/reactivate",
        AssociationsWrite,
    ),
    (
        "POST",
        "/v1/admin/tenants/{tenant}/services/{service}/remove",
        AssociationsWrite,
    ),
    ("GET", "/v1/admin/operations", TenantsRead),
    ("GET", "/v1/admin/operations/{id}", TenantsRead),
    ("GET", "/v1/admin/operations/{id}/progress", TenantsRead),
    ("GET", "/v1/admin/audit", Permission::AuditRead),
    ("GET", "/v1/admin/audit/head", Permission::AuditRead),
    ("GET", "/v1/admin/audit/verify", Permission::AuditRead),
    ("GET", "/v1/admin/isolation", TenantsRead),
    ("GET", "/v1/admin/isolation/report", TenantsRead),
    ("POST", "/v1/admin/isolation/check", TenantsWrite),
    ("GET", "/v1/admin/rekey", KeysRead),
    ("POST", "/v1/admin/rekey", BreakGlass),
    ("GET", "/v1/admin/keys", KeysRead),
    ("POST", "/v1/admin/keys", KeysWrite),
    ("GET", "/v1/admin/keys/{key}", KeysRead),
    ("POST", "/v1/admin/keys/{key}/rotate", KeysWrite),
    ("POST", "/v1/admin/keys/{key}/revoke", KeysWrite),
];

/// Returns the permission that a route needs.
pub fn needed(method: &str, path: &str) -> Permission {
    ROUTES
        .iter()
        .find(|route| route.0 == method && route.1 == path)
        .map_or(BreakGlass, |route| route.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_roles_grow() {
        for permission in Permission::ALL {
            assert_eq!(Permission::from_name(permission.as_str()), Some(permission));
            let (product, resource, action) = permission.parts();
            assert_eq!(
                format!("{product}:{resource}:{action}"),
                permission.as_str()
            );
        }
        for pair in Role::ALL[1..].windows(2) {
            assert!(pair[0].permissions().within(pair[1].permissions()));
            assert!(!pair[1].permissions().within(pair[0].permissions()));
        }
        assert!(!Role::ReadOnly.permissions().has(ConnectionsRead));
        assert_eq!(
            Role::BreakGlass.permissions(),
            Permission::ALL.into_iter().collect()
        );
    }

    #[test]
    fn a_role_is_the_least_that_has_everything() {
        let role = |permissions: &[Permission]| {
            permissions.iter().copied().collect::<Permissions>().role()
        };
        assert_eq!(role(&[]), None);
        assert_eq!(role(&[TenantsRead]), Some(Role::ReadOnly));
        assert_eq!(role(&[TenantsRead, TenantsWrite]), Some(Role::Operator));
        assert_eq!(role(&[BreakGlass]), Some(Role::BreakGlass));
    }

    #[test]
    fn every_route_of_the_interface_has_its_permission_and_none_is_left_over() {
        let routes = crate::contract::openapi::routes();
        for route in routes.iter().filter(|route| route.tag != "open") {
            let known = ROUTES
                .iter()
                .any(|row| row.0 == route.method && row.1 == route.path);
            assert!(known, "{route:?} has no row in ROUTES");
        }
        for (method, path, _) in ROUTES {
            let known = routes
                .iter()
                .any(|route| route.method == *method && route.path == *path);
            assert!(known, "{method} {path} is no route");
        }
    }
}
