//! What a user may do: its roles, those that they contain, and what these allow.
//!
//! Built-in roles are those of MongoDB's manual, "Built-In Roles".

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{CustomRole, Privilege, Role, User};

/// Roles of one database that open its collections, or what is in them.
const OF_DATABASE: [&str; 6] = [
    "read",
    "readWrite",
    "dbAdmin",
    "dbOwner",
    "userAdmin",
    "enableSharding",
];

/// Roles of `admin` that reach every database, or the deployment.
pub(super) const EVERYWHERE: [&str; 15] = [
    "__queryableBackup",
    "__system",
    "backup",
    "clusterAdmin",
    "clusterManager",
    "clusterMonitor",
    "dbAdminAnyDatabase",
    "directShardOperations",
    "hostManager",
    "readAnyDatabase",
    "readWriteAnyDatabase",
    "restore",
    "root",
    "searchCoordinator",
    "userAdminAnyDatabase",
];

/// Everything that a user has.
#[derive(Debug, Clone, Default)]
pub(super) struct Rights {
    /// Built-in roles, each with the role of the user that brings it.
    pub(super) builtin: BTreeMap<Role, Role>,
    /// Privileges of roles that somebody made, each with the role of the user that brings it.
    pub(super) privileges: Vec<(Privilege, Role)>,
    /// Roles of which nothing is known.
    pub(super) unknown: BTreeSet<Role>,
}

/// Writes a role as `role@db`.
pub(super) fn written(role: &Role) -> String {
    format!("{}@{}", role.0, role.1)
}

fn is_builtin(role: &Role) -> bool {
    OF_DATABASE.contains(&role.0.as_str())
        || role.1 == "admin" && EVERYWHERE.contains(&role.0.as_str())
}

impl Rights {
    /// Follows the roles of `user`.
    pub(super) fn of(user: &User, roles: &BTreeMap<Role, CustomRole>) -> Self {
        let mut rights = Self::default();
        for top in &user.roles {
            let mut seen = BTreeSet::from([top.clone()]);
            let mut next = vec![top.clone()];
            while let Some(role) = next.pop() {
                // A role that somebody made cannot be called as a built-in one of its database.
                if let Some(custom) = roles.get(&role) {
                    let privileges = custom.privileges.iter().cloned();
                    rights
                        .privileges
                        .extend(privileges.map(|one| (one, top.clone())));
                    for inner in &custom.roles {
                        if seen.insert(inner.clone()) {
                            next.push(inner.clone());
                        }
                    }
                } else if is_builtin(&role) {
                    rights.builtin.entry(role).or_insert_with(|| top.clone());
                } else {
                    rights.unknown.insert(role);
                }
            }
        }
        rights
    }
}
