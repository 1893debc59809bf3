//! Concludes from what a deployment answered. Pure: the control puts planted answers through it.

use std::collections::{BTreeMap, BTreeSet};

use bson::Document;

use super::facts::{Context, Deployment, Resource, Role, User};
use super::roles::{EVERYWHERE, Rights, written};
use super::versions;
use crate::isolation::catalogue::known;
use crate::isolation::inventory::Documents;
use crate::isolation::model::{Finding, Severity, everyone, owned};
use crate::isolation::part::Part;

/// Databases of the system.
pub(super) const SYSTEM: [&str; 3] = ["admin", "config", "local"];
/// Longest name of a database, in bytes: it has to be shorter than 64.
const LONGEST: usize = 63;
/// What a name of a database may not have, on any system that MongoDB runs on.
const FORBIDDEN: [char; 12] = ['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?'];
/// Actions with which a user gives itself rights.
const ESCALATING: [&str; 6] = [
    "changeCustomData",
    "changePassword",
    "createRole",
    "createUser",
    "grantRole",
    "revokeRole",
];

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    /// More than these are counted.
    const MOST: usize = 10;
    let shown: Vec<&str> = names.iter().take(MOST).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Writes a name as a string of JavaScript, the one place where names become code of mongosh.
pub(super) fn quoted(name: &str) -> String {
    // What JSON has as a string, JavaScript reads as the same string.
    serde_json::to_string(name).unwrap_or_else(|_| "\"NAME\"".into())
}

fn of_database(name: &str) -> String {
    format!("db.getSiblingDB({})", quoted(name))
}

fn revoke(user: &User, roles: &BTreeSet<&Role>) -> String {
    let list: Vec<String> = roles
        .iter()
        .map(|(role, db)| format!("{{ role: {}, db: {} }}", quoted(role), quoted(db)))
        .collect();
    format!(
        "{}.revokeRolesFromUser({}, [{}])",
        of_database(&user.db),
        quoted(&user.name),
        list.join(", ")
    )
}

/// Returns true for a host that is this machine.
fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Returns one name for each member that `one` is led to, as far as that shows.
pub(super) fn members(hosts: &[(String, u16)]) -> BTreeSet<(String, u16)> {
    let name = |host: &String| {
        if is_local(host) {
            "localhost".to_owned()
        } else {
            host.trim_end_matches('.').to_ascii_lowercase()
        }
    };
    hosts
        .iter()
        .map(|(host, port)| (name(host), *port))
        .collect()
}

/// Puts those together who are led to the same members.
pub(super) fn deployments(documents: &[Documents]) -> Vec<Vec<&Documents>> {
    type Deployment<'a> = (BTreeSet<(String, u16)>, Vec<&'a Documents>);
    let mut found: Vec<Deployment<'_>> = Vec::new();
    for one in documents {
        let mut hosts = members(&one.address.hosts);
        let mut of = vec![one];
        // One that names members of two joins them.
        let mut at = 0;
        while at < found.len() {
            if found[at].0.is_disjoint(&hosts) {
                at += 1;
            } else {
                let (others, more) = found.swap_remove(at);
                hosts.extend(others);
                of.extend(more);
            }
        }
        found.push((hosts, of));
    }
    found.into_iter().map(|(_, of)| of).collect()
}

/// Judges what tenants are handed; no server is asked.
pub(super) fn handed(documents: &[Documents], part: &mut Part) {
    let places = documents.len() as u64;
    for id in ["MG-06", "MG-08", "MG-12"] {
        part.looked(id, places, places);
    }
    for of in deployments(documents) {
        let store = of
            .iter()
            .map(|one| one.address.place())
            .min()
            .unwrap_or_default();
        shared_logins(&store, &of, part);
        names(&store, &of, part);
        told(&store, &of, part);
    }
}

fn shared_logins(store: &str, of: &[&Documents], part: &mut Part) {
    let mut logins: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for one in of.iter().filter(|one| !one.address.username.is_empty()) {
        let login = (
            one.address.auth_source.as_str(),
            one.address.username.as_str(),
        );
        logins.entry(login).or_default().insert(&one.tenant);
    }
    for ((db, user), tenants) in logins {
        if tenants.len() < 2 {
            continue;
        }
        let mut finding = Finding::new(known("MG-06"), store, format!("user {user}@{db}"));
        finding.from = owned(tenants);
        finding.to.clone_from(&finding.from);
        finding.roles = vec![user.to_owned()];
        finding.evidence = format!("{} log in as it", listed(&finding.from));
        part.findings.push(finding);
    }
}

/// Names of databases that are one, or become one.
fn names(store: &str, of: &[&Documents], part: &mut Part) {
    let mut folded: BTreeMap<String, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for one in of {
        let name = one.address.database.as_str();
        let place = (name, one.tenant.as_str());
        folded.entry(name.to_lowercase()).or_default().insert(place);
    }
    for (folded, places) in folded {
        let tenants: BTreeSet<&str> = places.iter().map(|(_, tenant)| *tenant).collect();
        let names: BTreeSet<&str> = places.iter().map(|(name, _)| *name).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let problem = if tenants.len() > 1 && names.len() == 1 {
            Some(("all of them are led to it", None))
        } else if tenants.len() > 1 {
            let text = "names that differ in case alone: the server refuses the second, and what folds names takes one for the other";
            Some((text, Some(Severity::High)))
        } else if folded.is_empty() {
            Some(("the connections name no database", Some(Severity::Medium)))
        } else if SYSTEM.contains(&folded.as_str()) {
            Some(("it is the system's own", None))
        } else if folded.len() > LONGEST {
            let text = "it is longer than the 63 bytes that a name may have: what cuts it makes it another's";
            Some((text, Some(Severity::High)))
        } else if folded.contains(FORBIDDEN) || folded.contains('\0') {
            let text = "it has a character that names of databases may not have";
            Some((text, Some(Severity::Medium)))
        } else {
            None
        };
        let Some((text, severity)) = problem else {
            continue;
        };
        let object = format!("database {}", listed(&names));
        let mut finding = Finding::new(known("MG-08"), store, object);
        finding.severity = severity.unwrap_or(finding.severity);
        finding.from = owned(tenants);
        finding.to.clone_from(&finding.from);
        text.clone_into(&mut finding.evidence);
        part.findings.push(finding);
    }
}

/// What products are told about TLS.
fn told(store: &str, of: &[&Documents], part: &mut Part) {
    let far = |one: &&&Documents| one.address.hosts.iter().any(|(host, _)| !is_local(host));
    let clear: BTreeSet<&str> = of
        .iter()
        .filter(|one| !one.address.tls)
        .filter(far)
        .map(|one| one.tenant.as_str())
        .collect();
    let blind: BTreeSet<&str> = of
        .iter()
        .filter(|one| one.address.tls && one.address.skips_verification)
        .map(|one| one.tenant.as_str())
        .collect();
    for (object, tenants, text) in [
        ("connections in clear", clear, "products are told no TLS"),
        (
            "connections without verification",
            blind,
            "products are told not to verify the server (tlsSkipVerify)",
        ),
    ] {
        if tenants.is_empty() {
            continue;
        }
        let mut finding = Finding::new(known("MG-12"), store, object);
        finding.from = everyone();
        finding.to = owned(tenants);
        text.clone_into(&mut finding.evidence);
        part.findings.push(finding);
    }
}

/// Judges a deployment.
pub(super) fn deployment(found: &Deployment, context: &Context, part: &mut Part) {
    login(found, context, part);
    match &found.users {
        Ok(users) => {
            rights(found, users, context, part);
            orphans(found, users, context, part);
        }
        Err(reason) => {
            for id in ["MG-02", "MG-03", "MG-04", "MG-05", "MG-07", "MG-16"] {
                part.unclear(id, format!("users may not be read: {reason}"));
            }
        }
    }
    settings(found, context, part);
    version(found, context, part);
}

fn login(found: &Deployment, context: &Context, part: &mut Part) {
    match found.open {
        Some(open) => {
            part.looked("MG-01", 1, 1);
            let said = found.settings.as_ref().and_then(|settings| {
                let security = settings.get_document("security").ok()?;
                security.get_str("authorization").ok()
            });
            if !open && said != Some("disabled") {
                return;
            }
            let mut finding = Finding::new(known("MG-01"), &context.store, "the deployment");
            finding.from = everyone();
            finding.to = everyone();
            finding.evidence = if open {
                "listDatabases answers without a login".into()
            } else {
                "its settings say security.authorization: disabled".into()
            };
            part.findings.push(finding);
        }
        None => part.unclear(
            "MG-01",
            "whether it answers without a login could not be tried",
        ),
    }
}

/// A finding about what a user may do.
struct Reach<'a> {
    context: &'a Context,
    user: &'a User,
    own: BTreeSet<&'a str>,
}

impl Reach<'_> {
    fn object(&self) -> String {
        format!("user {}@{}", self.user.name, self.user.db)
    }

    fn finding(&self, id: &'static str, to: Vec<String>, text: String) -> Finding {
        self.finding_on(id, self.object(), to, text)
    }

    fn finding_on(
        &self,
        id: &'static str,
        object: String,
        to: Vec<String>,
        text: String,
    ) -> Finding {
        let mut finding = Finding::new(known(id), &self.context.store, object);
        finding.roles = vec![self.user.name.clone()];
        finding.from = if self.own.is_empty() {
            to.clone()
        } else {
            owned(self.own.iter().copied())
        };
        finding.to = to;
        finding.evidence = text;
        // Who is no tenant's is somebody's to know of, and no tenant's reach.
        if self.own.is_empty() && id != "MG-02" {
            finding.severity = Severity::Info;
        }
        finding
    }
}

fn rights(found: &Deployment, users: &[User], context: &Context, part: &mut Part) {
    let judged: Vec<&User> = users
        .iter()
        .filter(|user| !context.trusted.contains(&user.name))
        .collect();
    for id in ["MG-02", "MG-03", "MG-04", "MG-05", "MG-07"] {
        part.looked(id, judged.len() as u64, judged.len() as u64);
    }
    for user in judged {
        let rights = Rights::of(user, &found.roles);
        if !rights.unknown.is_empty() {
            let names: Vec<String> = rights.unknown.iter().map(written).collect();
            let reason = format!(
                "user {}@{} has roles of which nothing could be read: {}",
                user.name,
                user.db,
                listed(&names)
            );
            for id in ["MG-02", "MG-03", "MG-05"] {
                part.unclear(id, reason.clone());
            }
        }
        let reach = Reach {
            context,
            user,
            own: context.of_user(user),
        };
        databases(&reach, &rights, part);
        everywhere(&reach, &rights, part);
        escalation(&reach, &rights, part);
        wide(&reach, &rights, part);
        oplog(&reach, &rights, part);
    }
}

/// MG-02: databases of other tenants.
fn databases(reach: &Reach<'_>, rights: &Rights, part: &mut Part) {
    let mut by_database: BTreeMap<&str, BTreeSet<&Role>> = BTreeMap::new();
    for ((_, db), via) in &rights.builtin {
        by_database.entry(db).or_default().insert(via);
    }
    for (privilege, via) in &rights.privileges {
        if let Resource::Named { db, .. } = &privilege.resource
            && !privilege.actions.is_empty()
        {
            by_database.entry(db).or_default().insert(via);
        }
    }
    let of_tenants: Vec<(&str, BTreeSet<&str>, BTreeSet<&Role>)> = by_database
        .into_iter()
        .map(|(db, via)| (db, reach.context.of_database(db), via))
        .filter(|(_, tenants, _)| !tenants.is_empty())
        .collect();
    // A database that a user shares with its own tenant is theirs; sharing it is MG-08's.
    let foreign: Vec<_> = of_tenants
        .iter()
        .filter(|(_, tenants, _)| reach.own.is_disjoint(tenants))
        .collect();
    let several: BTreeSet<&str> = foreign
        .iter()
        .flat_map(|(_, tenants, _)| tenants.iter().copied())
        .collect();
    let beyond = if reach.own.is_empty() {
        several.len() > 1
    } else {
        !foreign.is_empty()
    };
    if !beyond {
        return;
    }
    let names: Vec<&str> = foreign.iter().map(|(db, ..)| *db).collect();
    let via: BTreeSet<&Role> = foreign
        .iter()
        .flat_map(|(.., via)| via.iter().copied())
        .collect();
    let shown: Vec<String> = via.iter().map(|role| written(role)).collect();
    let text = format!("{} open {}", listed(&shown), listed(&names));
    let mut finding = reach.finding("MG-02", owned(several), text);
    finding.remedy = vec![revoke(reach.user, &via)];
    part.findings.push(finding);
}

/// MG-03: roles that reach every database, or the deployment.
fn everywhere(reach: &Reach<'_>, rights: &Rights, part: &mut Part) {
    let wide: Vec<(&Role, &Role)> = rights
        .builtin
        .iter()
        .filter(|((role, db), _)| db == "admin" && EVERYWHERE.contains(&role.as_str()))
        .collect();
    if wide.is_empty() {
        return;
    }
    let via: BTreeSet<&Role> = wide.iter().map(|(_, via)| *via).collect();
    let shown: Vec<String> = wide
        .iter()
        .map(|(role, via)| {
            if role == via {
                role.0.clone()
            } else {
                format!("{} through {}", role.0, written(via))
            }
        })
        .collect();
    let mut finding = reach.finding("MG-03", everyone(), format!("it has {}", listed(&shown)));
    if reach.own.is_empty() {
        finding.from = Vec::new();
    }
    finding.remedy = vec![revoke(reach.user, &via)];
    part.findings.push(finding);
}

/// MG-04: rights to give rights.
fn escalation(reach: &Reach<'_>, rights: &Rights, part: &mut Part) {
    let mut places: BTreeMap<&str, BTreeSet<&Role>> = BTreeMap::new();
    for ((role, db), via) in &rights.builtin {
        if matches!(role.as_str(), "userAdmin" | "dbOwner") {
            places.entry(db).or_default().insert(via);
        }
    }
    for (privilege, via) in &rights.privileges {
        if let Resource::Named { db, collection } = &privilege.resource
            && collection.is_empty()
            && !db.is_empty()
            && privilege
                .actions
                .iter()
                .any(|action| ESCALATING.contains(&action.as_str()))
        {
            places.entry(db).or_default().insert(via);
        }
    }
    for (db, via) in places {
        let shown: Vec<String> = via.iter().map(|role| written(role)).collect();
        let all = db == "admin";
        let to = if all {
            everyone()
        } else {
            owned(reach.context.of_database(db))
        };
        let text = format!(
            "{} let it give roles of {db}, itself included",
            listed(&shown)
        );
        let object = format!("{} in database {db}", reach.object());
        let mut finding = reach.finding_on("MG-04", object, to, text);
        if !all && finding.severity != Severity::Info {
            finding.severity = Severity::High;
        }
        finding.remedy = vec![revoke(reach.user, &via)];
        part.findings.push(finding);
    }
}

/// MG-05: roles that somebody made, without a database.
fn wide(reach: &Reach<'_>, rights: &Rights, part: &mut Part) {
    let mut found: BTreeMap<String, BTreeSet<&Role>> = BTreeMap::new();
    let mut mild = true;
    for (privilege, via) in &rights.privileges {
        let what = match &privilege.resource {
            _ if privilege.actions.is_empty() => continue,
            Resource::Any => "anyResource".to_owned(),
            Resource::Cluster => {
                let names: Vec<&str> = privilege.actions.iter().map(String::as_str).collect();
                mild &= names.iter().all(|name| *name == "listDatabases");
                found
                    .entry(format!("the cluster ({})", listed(&names)))
                    .or_default()
                    .insert(via);
                continue;
            }
            Resource::Named { db, collection } if db.is_empty() && collection.is_empty() => {
                "every database".to_owned()
            }
            Resource::Named { db, collection } if db.is_empty() => {
                format!("{collection} of every database")
            }
            Resource::Named { .. } => continue,
        };
        mild = false;
        found.entry(what).or_default().insert(via);
    }
    if found.is_empty() {
        return;
    }
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let via: BTreeSet<&Role> = found.values().flatten().copied().collect();
    let shown: Vec<String> = via.iter().map(|role| written(role)).collect();
    let text = format!("{} is about {}", listed(&shown), listed(&names));
    let mut finding = reach.finding("MG-05", everyone(), text);
    if reach.own.is_empty() {
        finding.from = Vec::new();
    } else if mild {
        finding.severity = Severity::Medium;
    }
    finding.remedy = vec![revoke(reach.user, &via)];
    part.findings.push(finding);
}

/// MG-07: what every tenant writes passes through `local`, and what shards know through `config`.
fn oplog(reach: &Reach<'_>, rights: &Rights, part: &mut Part) {
    let mut via: BTreeSet<&Role> = BTreeSet::new();
    let is_log = |db: &str| matches!(db, "local" | "config");
    for ((_, db), top) in &rights.builtin {
        if is_log(db) {
            via.insert(top);
        }
    }
    for (privilege, top) in &rights.privileges {
        if let Resource::Named { db, collection } = &privilege.resource
            && !privilege.actions.is_empty()
            && (is_log(db) || db.is_empty() && collection == "oplog.rs")
        {
            via.insert(top);
        }
    }
    if via.is_empty() {
        return;
    }
    let shown: Vec<String> = via.iter().map(|role| written(role)).collect();
    let text = format!("{} open the log of all writes", listed(&shown));
    let mut finding = reach.finding("MG-07", everyone(), text);
    if reach.own.is_empty() {
        finding.from = Vec::new();
    }
    finding.remedy = vec![revoke(reach.user, &via)];
    part.findings.push(finding);
}

fn orphans(found: &Deployment, users: &[User], context: &Context, part: &mut Part) {
    let places = (found.databases.len() + users.len()) as u64;
    part.looked("MG-16", places, places);
    let purged = |tenants: &BTreeSet<&str>| {
        let status = |tenant: &&str| context.tenants.get(*tenant).map(String::as_str);
        !tenants.is_empty()
            && tenants
                .iter()
                .all(|tenant| status(tenant) == Some("purged"))
    };
    let mut strange = 0;
    let mut add = |object: String, to: &BTreeSet<&str>, evidence: &str, remedy: String| {
        let mut finding = Finding::new(known("MG-16"), &context.store, object);
        finding.to = owned(to.iter().copied());
        evidence.clone_into(&mut finding.evidence);
        finding.remedy = vec![remedy];
        part.findings.push(finding);
    };
    for name in &found.databases {
        let tenants = context.of_database(name);
        let look = format!("{}.getCollectionNames()", of_database(name));
        if purged(&tenants) {
            add(
                format!("database {name}"),
                &tenants,
                "its tenant is purged",
                look,
            );
        } else if tenants.is_empty() && !SYSTEM.contains(&name.as_str()) {
            if context.complete {
                let text = "no tenant of the inventory has it";
                add(format!("database {name}"), &tenants, text, look);
            } else {
                strange += 1;
            }
        }
    }
    for user in users {
        let tenants = context.of_user(user);
        let object = format!("user {}@{}", user.name, user.db);
        let remedy = format!("{}.dropUser({})", of_database(&user.db), quoted(&user.name));
        if purged(&tenants) {
            add(object, &tenants, "its tenant is purged", remedy);
        } else if tenants.is_empty() && !context.trusted.contains(&user.name) {
            // One that reaches tenants is looked at for that.
            if user
                .roles
                .iter()
                .any(|(_, db)| !context.of_database(db).is_empty())
            {
                continue;
            }
            if context.complete {
                add(
                    object,
                    &tenants,
                    "no tenant of the inventory has it",
                    remedy,
                );
            } else {
                strange += 1;
            }
        }
    }
    if strange > 0 {
        part.unclear(
            "MG-16",
            format!("the inventory does not have every tenant, and does not know {strange} databases and users"),
        );
    }
}

/// Returns a setting by its path.
fn setting<'a>(settings: &'a Document, path: &[&str]) -> Option<&'a bson::Bson> {
    let (last, parents) = path.split_last()?;
    let mut at = settings;
    for parent in parents {
        at = at.get_document(parent).ok()?;
    }
    at.get(last)
}

fn settings(found: &Deployment, context: &Context, part: &mut Part) {
    let Some(settings) = &found.settings else {
        for id in ["MG-12", "MG-14"] {
            part.unclear(id, "its settings may not be read (getCmdLineOpts)");
        }
        return;
    };
    part.looked("MG-12", 1, 1);
    part.looked("MG-14", 1, 1);
    let text = |path: &[&str]| setting(settings, path).and_then(|value| value.as_str());
    let local_only = text(&["net", "bindIp"]).is_some_and(|list| {
        let all = setting(settings, &["net", "bindIpAll"]).and_then(bson::Bson::as_bool);
        all != Some(true)
            && list
                .split(',')
                .all(|host| host.trim().starts_with('/') || is_local(host.trim()))
    });
    let mode = text(&["net", "tls", "mode"]).or_else(|| text(&["net", "ssl", "mode"]));
    let strict = matches!(mode, Some("requireTLS" | "requireSSL"));
    // Without bindIp it listens on this machine alone, since MongoDB 3.6.
    let listens = setting(settings, &["net", "bindIp"]).is_some()
        || setting(settings, &["net", "bindIpAll"]).is_some();
    if listens && !local_only && !strict {
        let mut finding = Finding::new(known("MG-12"), &context.store, "net.tls.mode");
        finding.from = everyone();
        finding.to = everyone();
        finding.evidence = match mode {
            Some(mode) => format!("it is {mode}, and the server listens to other machines"),
            None => "there is none, and the server listens to other machines".into(),
        };
        part.findings.push(finding);
    }
    let javascript = setting(settings, &["security", "javascriptEnabled"]);
    if javascript.and_then(bson::Bson::as_bool) != Some(false) {
        let mut finding =
            Finding::new(known("MG-14"), &context.store, "security.javascriptEnabled");
        finding.from = everyone();
        finding.to = everyone();
        finding.evidence = "the server runs JavaScript of whoever may query".into();
        part.findings.push(finding);
    }
}

fn version(found: &Deployment, context: &Context, part: &mut Part) {
    let zlib = found.compressors.iter().any(|name| name == "zlib");
    match versions::hole(&found.version) {
        versions::Hole::Closed => part.looked("MG-13", 1, 1),
        _ if !zlib => part.looked("MG-13", 1, 1),
        versions::Hole::Open => {
            part.looked("MG-13", 1, 1);
            let object = format!("MongoDB {}", found.version);
            let mut finding = Finding::new(known("MG-13"), &context.store, object);
            finding.from = everyone();
            finding.to = everyone();
            finding.evidence =
                "it is older than the fix of CVE-2025-14847, and takes the compressor zlib".into();
            part.findings.push(finding);
        }
        versions::Hole::Unknown => part.unclear(
            "MG-13",
            format!(
                "MongoDB {}: no fix of CVE-2025-14847 is known for its branch, and it takes the compressor zlib",
                found.version
            ),
        ),
    }
}
