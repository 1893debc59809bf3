//! What a deployment answers, before anything is concluded from it, and who is led to it.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};

use super::address::Address;
use super::wire::documents;
use crate::isolation::inventory::{Documents, Inventory};

/// A role, as `role` of the database `db`.
pub(super) type Role = (String, String);

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) db: String,
    pub(super) roles: Vec<Role>,
}

/// What a privilege is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// Everything, the system's own included.
    Any,
    /// What no database has.
    Cluster,
    /// A database and a collection; an empty name is any.
    Named { db: String, collection: String },
}

/// What a role allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Privilege {
    pub(super) resource: Resource,
    pub(super) actions: Vec<String>,
}

/// A role that somebody made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CustomRole {
    pub(super) privileges: Vec<Privilege>,
    pub(super) roles: Vec<Role>,
}

/// Everything that a deployment answers.
#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) version: String,
    /// What `listDatabases` came to without a login: `Some(true)` when it answered, `None` when
    /// that could not be tried.
    pub(super) open: Option<bool>,
    /// The settings, unless they may not be read.
    pub(super) settings: Option<Document>,
    /// Compressors that it takes.
    pub(super) compressors: Vec<String>,
    /// Names of the databases.
    pub(super) databases: Vec<String>,
    /// Users, unless they may not be read.
    pub(super) users: Result<Vec<User>, String>,
    pub(super) roles: BTreeMap<Role, CustomRole>,
}

/// Reads a list of roles.
pub(super) fn roles(document: &Document) -> Vec<Role> {
    let list = documents(document.get_array("roles").ok());
    let role = |one: &Document| {
        Some((
            one.get_str("role").ok()?.to_owned(),
            one.get_str("db").ok()?.to_owned(),
        ))
    };
    list.iter().filter_map(role).collect()
}

/// Reads the privileges of a role.
pub(super) fn privileges(document: &Document) -> Vec<Privilege> {
    let list = documents(document.get_array("privileges").ok());
    let privilege = |one: &Document| {
        let resource = one.get_document("resource").ok()?;
        let is_on = |name: &str| resource.get_bool(name).unwrap_or(false);
        let name = |name: &str| resource.get_str(name).unwrap_or_default().to_owned();
        let actions = one.get_array("actions").ok()?.iter();
        Some(Privilege {
            resource: if is_on("anyResource") {
                Resource::Any
            } else if is_on("cluster") {
                Resource::Cluster
            } else {
                Resource::Named {
                    db: name("db"),
                    collection: name("collection"),
                }
            },
            actions: actions
                .filter_map(Bson::as_str)
                .map(str::to_owned)
                .collect(),
        })
    };
    list.iter().filter_map(privilege).collect()
}

/// Who has which database, with which user.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// Place of findings.
    pub(super) store: String,
    /// Those who are led to this deployment.
    pub(super) documents: Vec<Documents>,
    /// Status of every tenant.
    pub(super) tenants: BTreeMap<String, String>,
    pub(super) complete: bool,
    pub(super) trusted: BTreeSet<String>,
}

impl Context {
    pub(super) fn new(
        inventory: &Inventory,
        store: &str,
        of_here: impl Fn(&Address) -> bool,
        trusted: BTreeSet<String>,
    ) -> Self {
        let documents = inventory.documents.iter();
        Self {
            store: store.to_owned(),
            documents: documents
                .filter(|one| of_here(&one.address))
                .cloned()
                .collect(),
            tenants: inventory
                .everyone()
                .into_iter()
                .map(|record| (record.tenant, record.status))
                .collect(),
            complete: inventory.complete,
            trusted,
        }
    }

    /// Returns the tenants of a database.
    pub(super) fn of_database(&self, name: &str) -> BTreeSet<&str> {
        let of = self.documents.iter().filter(|d| d.address.database == name);
        of.map(|d| d.tenant.as_str()).collect()
    }

    /// Returns the tenants that a user belongs to.
    pub(super) fn of_user(&self, user: &User) -> BTreeSet<&str> {
        let of = self
            .documents
            .iter()
            .filter(|d| d.address.username == user.name && d.address.auth_source == user.db);
        of.map(|d| d.tenant.as_str()).collect()
    }

    /// Returns the databases of tenants.
    pub(super) fn databases(&self) -> BTreeSet<&str> {
        let of = self.documents.iter();
        of.map(|d| d.address.database.as_str()).collect()
    }
}
