//! Asks a deployment. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};

use super::address::Address;
use super::facts::{CustomRole, Deployment, Role, User, privileges, roles};
use super::wire::{Refusal, Session, documents};

/// Asks the deployment that `reader` logs in to, which has the databases `more` besides those that
/// it may list.
pub(super) async fn read(
    reader: &Address,
    more: &BTreeSet<&str>,
) -> Result<(Session, Deployment), Refusal> {
    let mut session = Session::open(reader).await?;
    let mut found = Deployment {
        version: String::new(),
        open: without_a_login(reader).await,
        settings: None,
        compressors: Vec::new(),
        databases: Vec::new(),
        users: Ok(Vec::new()),
        roles: BTreeMap::new(),
    };
    let compressors = session.hello.get_array("compression").ok();
    let compressors = compressors.into_iter().flatten().filter_map(Bson::as_str);
    found.compressors = compressors.map(str::to_owned).collect();
    let build = session.ask("admin", doc! { "buildInfo": 1 }).await?;
    build
        .get_str("version")
        .unwrap_or_default()
        .clone_into(&mut found.version);
    let settings = session.ask("admin", doc! { "getCmdLineOpts": 1 }).await;
    found.settings = settings
        .ok()
        .and_then(|answer| answer.get_document("parsed").ok().cloned());
    let list = doc! { "listDatabases": 1, "nameOnly": true };
    let list = session.ask("admin", list).await?;
    found.databases = documents(list.get_array("databases").ok())
        .iter()
        .filter_map(|one| one.get_str("name").ok().map(str::to_owned))
        .collect();
    let mut places: BTreeSet<String> = found.databases.iter().cloned().collect();
    places.extend(more.iter().map(|name| (*name).to_owned()));
    places.extend(["admin".to_owned(), reader.auth_source.clone()]);
    found.users = users(&mut session, reader, &places).await;
    if let Ok(users) = &found.users {
        let held = users.iter().flat_map(|user| user.roles.iter().cloned());
        match custom(&mut session, held.collect()).await {
            Ok(roles) => found.roles = roles,
            Err(refusal) => found.users = Err(format!("roles: {refusal}")),
        }
    }
    Ok((session, found))
}

/// Returns whether databases are listed to who has not logged in.
async fn without_a_login(reader: &Address) -> Option<bool> {
    let nobody = Address {
        username: String::new(),
        password: None,
        ..reader.clone()
    };
    let mut session = Session::open(&nobody).await.ok()?;
    let list = doc! { "listDatabases": 1, "nameOnly": true };
    match session.ask("admin", list).await {
        Ok(_) => Some(true),
        Err(Refusal::Server(..)) => Some(false),
        Err(Refusal::Unclear(_)) => None,
    }
}

/// Returns the users of all databases; an error when not all of them may be read.
async fn users(
    session: &mut Session,
    reader: &Address,
    places: &BTreeSet<String>,
) -> Result<Vec<User>, String> {
    let all = doc! { "usersInfo": { "forAllDBs": true } };
    let refused = |refusal: Refusal| refusal.to_string();
    let mut found = read_users(&session.ask("admin", all).await.map_err(refused)?);
    // Whoever asks exists; an answer without it is none for all databases.
    let is_reader = |user: &User| user.db == reader.auth_source && user.name == reader.username;
    if !reader.username.is_empty() && !found.iter().any(is_reader) {
        found.clear();
        for place in places {
            let answer = session.ask(place, doc! { "usersInfo": 1 }).await;
            found.extend(read_users(&answer.map_err(refused)?));
        }
    }
    Ok(found)
}

fn read_users(answer: &Document) -> Vec<User> {
    let list = documents(answer.get_array("users").ok());
    let user = |one: &Document| {
        let text = |name: &str| one.get_str(name).unwrap_or_default().to_owned();
        User {
            name: text("user"),
            db: text("db"),
            roles: roles(one),
        }
    };
    list.iter().map(user).collect()
}

/// Returns the roles that somebody made in the databases of `held`, and of those that they contain.
async fn custom(
    session: &mut Session,
    held: BTreeSet<Role>,
) -> Result<BTreeMap<Role, CustomRole>, Refusal> {
    let mut found = BTreeMap::new();
    let mut asked: BTreeSet<String> = BTreeSet::new();
    let mut next: BTreeSet<String> = held.into_iter().map(|(_, db)| db).collect();
    while let Some(db) = next.pop_first() {
        if !asked.insert(db.clone()) {
            continue;
        }
        let ask = doc! { "rolesInfo": 1, "showPrivileges": true, "showBuiltinRoles": false };
        let answer = session.ask(&db, ask).await?;
        for one in documents(answer.get_array("roles").ok()) {
            let (Ok(role), Ok(of)) = (one.get_str("role"), one.get_str("db")) else {
                continue;
            };
            if one.get_bool("isBuiltin").unwrap_or(false) {
                continue;
            }
            let contained = roles(&one);
            next.extend(contained.iter().map(|(_, db)| db.clone()));
            found.insert(
                (role.to_owned(), of.to_owned()),
                CustomRole {
                    privileges: privileges(&one),
                    roles: contained,
                },
            );
        }
    }
    Ok(found)
}

/// Returns a collection of each database of `names` that has one.
pub(super) async fn collections(
    session: &mut Session,
    names: &BTreeSet<&str>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in names {
        let ask =
            doc! { "listCollections": 1, "nameOnly": true, "filter": { "type": "collection" } };
        let Ok(list) = session.list(name, ask).await else {
            continue;
        };
        let names = list.iter().filter_map(|one| one.get_str("name").ok());
        if let Some(first) = names.filter(|name| !name.starts_with("system.")).min() {
            found.insert((*name).to_owned(), first.to_owned());
        }
    }
    found
}
