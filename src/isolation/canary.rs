//! Gives tenants their canary, and takes it away: the row that PG-206 reads.
//!
//! A canary is a table of the tenant's own, `lerian_canary`, that nobody may change and whose mark
//! (a comment) says whose it is. The server draws the nonce, so that it never leaves the place.
//! What bears the name without our mark, or with another tenant's, is neither read, altered nor
//! dropped. Each place is one transaction: killed at any instant, the same call again completes it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::audit::Refusal;
use super::inventory::Store;
use super::live;
use crate::link::postgres::{Gate, PostgresEndpoint, Session};
use crate::provision::mark::Mark;
use crate::provision::sql::{ident, literal};

/// Name of the table, with the columns `tenant` and `nonce`.
pub const TABLE: &str = "lerian_canary";

/// Options of a session: nothing of a tenant's is on its path, so that nothing of it is called.
const OPTIONS: &str = "-c search_path=pg_catalog -c statement_timeout=60s -c lock_timeout=5s -c \
                       standard_conforming_strings=on -c \
                       idle_in_transaction_session_timeout=60s";

/// SQLSTATE of a refusal for want of a right.
const NO_PRIVILEGE: &str = "42501";

/// What is to become of the canaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Every place has its own.
    Make,
    /// Ours are gone.
    Remove,
}

/// What is done in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The canary is made.
    Make,
    /// The canary is removed.
    Remove,
    /// It is as it should be.
    Keep,
    /// It is none of our business, or cannot be done; the reason says why.
    Leave,
}

/// A tenant's place, and what is done there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Tenant.
    pub tenant: String,
    /// Cluster.
    pub store: String,
    /// Database.
    pub database: String,
    /// Schema.
    pub schema: String,
    /// What is done.
    pub action: Action,
    /// Statements, sent as one transaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// Why it is left alone; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why it could not be done, or does not do what it is for, when it was tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Who may act in the tenants' places: a login of the operator by cluster, or else the tenant's own.
pub type Login<'a> = &'a dyn Fn(&Store) -> Option<PostgresEndpoint>;

/// Returns one store for each place of the tenants that are there, in order.
pub fn places(stores: &[Store]) -> Vec<&Store> {
    let mut places: BTreeMap<_, &Store> = BTreeMap::new();
    for store in stores.iter().filter(|store| store.status != "purged") {
        let schema = store.schema.as_deref().unwrap_or_default();
        // Whose place it is that several tenants have, nobody can say: each is asked for by itself.
        places
            .entry((&store.tenant, store.cluster(), &store.database, schema))
            .or_insert(store);
    }
    places.into_values().collect()
}

/// Looks at every place and says what is to be done there; changes nothing.
pub async fn plan(
    stores: &[&Store],
    wish: Wish,
    login: Login<'_>,
    gate: &Gate,
    progress: &dyn Fn(u64, u64),
) -> Vec<Place> {
    let work = stores.iter().map(|store| one(store, wish, login, gate));
    let mut places = in_order(work, gate, progress).await;
    let mut tenants: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let key = |place: &Place| {
        let place = (&place.store, &place.database, &place.schema);
        (place.0.clone(), place.1.clone(), place.2.clone())
    };
    for place in &places {
        let of_place = tenants.entry(key(place)).or_default();
        of_place.insert(place.tenant.clone());
    }
    for place in &mut places {
        let others = &tenants[&key(place)];
        if others.len() > 1 {
            let names: Vec<&str> = others.iter().map(String::as_str).collect();
            place.action = Action::Leave;
            place.statements.clear();
            place.reason = format!("it is the place of several tenants: {}", names.join(", "));
        }
    }
    places
}

/// Does what was planned, and has each tenant's login try its canary.
pub async fn apply(
    stores: &[&Store],
    planned: Vec<Place>,
    wish: Wish,
    login: Login<'_>,
    gate: &Gate,
    progress: &dyn Fn(u64, u64),
) -> Vec<Place> {
    let work = stores
        .iter()
        .zip(planned)
        .map(|(store, place)| carry_out(store, place, wish, login, gate));
    in_order(work, gate, progress).await
}

async fn in_order(
    work: impl Iterator<Item = impl Future<Output = Place>>,
    gate: &Gate,
    progress: &dyn Fn(u64, u64),
) -> Vec<Place> {
    let work: Vec<_> = work.collect();
    let (mut done, total) = (0, work.len() as u64);
    let mut results = stream::iter(work).buffered(gate.bound());
    let mut places = Vec::new();
    while let Some(place) = results.next().await {
        done += 1;
        progress(done, total);
        places.push(place);
    }
    places
}

/// How a place is entered.
async fn enter(store: &Store, login: Login<'_>, gate: &Gate) -> Result<Session, String> {
    let operator = login(store).map(|operator| operator.with_database(&store.database));
    let own = operator.is_none();
    let Some(endpoint) = operator.or_else(|| store.endpoint()) else {
        return Err(
            "its password is not known, and no login was given (--postgres-url-file)".into(),
        );
    };
    // What a tenant's own session calls, it calls with its own rights; a pooler may know no options.
    let options = if own { "" } else { OPTIONS };
    match gate.connect(&endpoint, options).await {
        Ok(session) => Ok(session),
        Err(error) if error.sqlstate.as_deref() == Some(NO_PRIVILEGE) => Err(format!(
            "{}: GRANT CONNECT ON DATABASE {} TO {};",
            error.link,
            ident(&store.database),
            ident(&endpoint.user)
        )),
        Err(error) => Err(error.link.to_string()),
    }
}

async fn one(store: &Store, wish: Wish, login: Login<'_>, gate: &Gate) -> Place {
    let mut place = Place {
        tenant: store.tenant.clone(),
        store: store.cluster(),
        database: store.database.clone(),
        schema: schema_of(store).to_owned(),
        action: Action::Leave,
        statements: Vec::new(),
        reason: String::new(),
        error: String::new(),
    };
    match enter(store, login, gate).await {
        Ok(session) => {
            match look(&session, store).await {
                Ok(found) => found.decide(store, wish, &mut place),
                Err(error) => place.reason = Refusal::of(&error).message,
            }
            session.close().await;
        }
        Err(reason) => place.reason = reason,
    }
    place
}

fn schema_of(store: &Store) -> &str {
    store.schema.as_deref().unwrap_or("public")
}

fn table_of(store: &Store) -> String {
    format!("{}.{TABLE}", ident(schema_of(store)))
}

/// Name of a tenant in its canary and its mark: what stays when it is called otherwise.
fn name_of(store: &Store) -> &str {
    if store.tenant_id.is_empty() {
        &store.tenant
    } else {
        &store.tenant_id
    }
}

/// What stands in a place, and what the session may do there.
#[derive(Debug, Default)]
struct Found {
    /// Whether there is such a schema.
    schema: bool,
    /// Whose the canary is to be: the role that owns what the tenant makes there.
    owner: String,
    /// Kind and comment of what bears the name.
    taken: Option<(String, Option<String>)>,
    /// Roles besides its owner that have rights on it.
    grantees: Vec<String>,
    /// Whether that owner may create in the schema.
    creates: bool,
    /// The session's role.
    me: String,
    superuser: bool,
    /// Whose the table is, or is to be: who acts as this role may do all of it.
    actor: String,
    /// Whether the session may become that role.
    may_act: bool,
    /// Whether it may make itself a member of that role.
    may_join: bool,
    /// Whether it has given itself a membership in it already, without SET.
    joined: bool,
    /// Version of the server, as a number.
    version: i32,
}

async fn look(session: &Client, store: &Store) -> Result<Found, tokio_postgres::Error> {
    // An owner role counts where the tenant's login acts as it; whoever owns the database owns the
    // schema `public` by default, and is nobody in particular.
    let query = "WITH place AS (
           SELECT n.oid AS nsp, c.oid AS taken, c.relkind, c.relacl, c.relowner,
             CASE WHEN o.rolname <> 'pg_database_owner' AND pg_has_role(l.oid, o.oid, 'MEMBER') THEN o.oid
                  ELSE l.oid END AS owner
           FROM pg_roles l
           LEFT JOIN pg_namespace n ON n.nspname = $2
           LEFT JOIN pg_roles o ON o.oid = n.nspowner
           LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $3
           WHERE l.rolname = $1)
         SELECT p.nsp IS NOT NULL, w.rolname::text, p.relkind::text, obj_description(p.taken, 'pg_class'),
           ARRAY(SELECT DISTINCT CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END
                 FROM aclexplode(p.relacl) a WHERE a.grantee <> p.relowner),
           p.nsp IS NULL OR has_schema_privilege(w.oid, p.nsp, 'CREATE'), me.rolname::text, me.rolsuper,
           x.rolname::text, pg_has_role(x.oid, CASE WHEN v.n >= 160000 THEN 'SET' ELSE 'MEMBER' END),
           CASE WHEN v.n >= 160000 THEN pg_has_role(x.oid, 'MEMBER WITH ADMIN OPTION')
                ELSE me.rolcreaterole AND NOT x.rolsuper END,
           EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = x.oid AND m.member = me.oid AND m.grantor = me.oid), v.n
         FROM place p JOIN pg_roles w ON w.oid = p.owner JOIN pg_roles x ON x.oid = coalesce(p.relowner, p.owner)
         JOIN pg_roles me ON me.rolname = current_user
         CROSS JOIN (SELECT current_setting('server_version_num')::int AS n) v";
    let (login, schema) = (store.login.as_str(), schema_of(store));
    let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[
        (&login, Type::TEXT),
        (&schema, Type::TEXT),
        (&TABLE, Type::TEXT),
    ];
    let Some(row) = session.query_typed_opt(query, parameters).await? else {
        return Ok(Found::default());
    };
    let kind: Option<String> = row.get(2);
    Ok(Found {
        schema: row.get(0),
        owner: row.get::<_, Option<String>>(1).unwrap_or_default(),
        taken: kind.map(|kind| (kind, row.get(3))),
        grantees: row.get(4),
        creates: row.get(5),
        me: row.get(6),
        superuser: row.get(7),
        actor: row.get(8),
        may_act: row.get(9),
        may_join: row.get(10),
        joined: row.get(11),
        version: row.get(12),
    })
}

/// What begins the end of a transaction that acted as another role.
const BACK: &str = "RESET ROLE";

impl Found {
    /// Returns what makes the session the role whose the table is, and what takes that back; empty for
    /// a superuser. Fails with the right that is missing.
    fn way(&self, store: &Store, wish: Wish) -> Result<(Vec<String>, Vec<String>), String> {
        if self.superuser {
            return Ok((Vec::new(), Vec::new()));
        }
        let (actor, me) = (ident(&self.actor), ident(&self.me));
        if wish == Wish::Make && !self.creates {
            let schema = ident(schema_of(store));
            return Err(format!(
                "`{}` may not create in its schema: GRANT CREATE ON SCHEMA {schema} TO {actor}; in database \
                 {}, or have a superuser make it",
                self.actor,
                ident(&store.database)
            ));
        }
        let mut before = vec![format!("SET LOCAL ROLE {actor}")];
        let mut after = Vec::new();
        // Both since PostgreSQL 16; before, whoever may make roles may join any but a superuser.
        let (alone, option) = if self.version >= 160_000 {
            (" WITH INHERIT FALSE, SET TRUE", "SET OPTION FOR ")
        } else {
            ("", "")
        };
        if !self.may_act && self.may_join {
            let (alone, option) = if self.joined {
                (" WITH SET TRUE", option)
            } else {
                (alone, "")
            };
            before.insert(0, format!("GRANT {actor} TO CURRENT_USER{alone}"));
            after = vec![
                BACK.to_owned(),
                format!("REVOKE {option}{actor} FROM CURRENT_USER"),
            ];
        } else if !self.may_act {
            return Err(format!(
                "`{}` may not act for `{}`, whose it is: GRANT {actor} TO {me}{alone}; by a superuser or by who may \
                 give that role away",
                self.me, self.actor
            ));
        }
        Ok((before, after))
    }

    fn decide(self, store: &Store, wish: Wish, place: &mut Place) {
        let table = table_of(store);
        if self.owner.is_empty() {
            place.reason = format!("there is no role `{}`", store.login);
            return;
        }
        if !self.schema {
            place.reason = format!("there is no schema `{}`", schema_of(store));
            return;
        }
        let Some((kind, comment)) = &self.taken else {
            if wish == Wish::Remove {
                place.action = Action::Keep;
                return;
            }
            match self.way(store, wish) {
                Ok((before, after)) => {
                    place.action = Action::Make;
                    place.statements = make(store, &table, &self.owner, before, after);
                }
                Err(reason) => place.reason = reason,
            }
            return;
        };
        let marked = comment.as_deref().and_then(Mark::parse);
        place.reason = match marked {
            Some(Mark::Tenant { tenant, .. }) if kind == "r" => {
                if tenant != store.tenant && tenant != store.tenant_id {
                    format!("{table} is marked as that of `{tenant}`: find out whose data it is")
                } else if wish == Wish::Remove {
                    match self.way(store, wish) {
                        Ok((before, after)) => {
                            place.action = Action::Remove;
                            place.statements = before;
                            place.statements.push(format!("DROP TABLE {table}"));
                            place.statements.extend(after);
                            return;
                        }
                        Err(reason) => reason,
                    }
                } else if let [first, ..] = self.grantees.as_slice() {
                    let whose = if first.is_empty() { "PUBLIC" } else { first };
                    format!("{table} is open to `{whose}`: lerianctl isolation check")
                } else {
                    place.action = Action::Keep;
                    return;
                }
            }
            _ => format!("{table} stands there, and has no mark of lerianctl"),
        };
    }
}

/// Returns the statements that make a canary; `before` and `after` stand around what the owner does.
/// A superuser makes it and hands it over.
fn make(
    store: &Store,
    table: &str,
    owner: &str,
    before: Vec<String>,
    after: Vec<String>,
) -> Vec<String> {
    let mark = Mark::Tenant {
        tenant: name_of(store).to_owned(),
        service: store.service.clone(),
        module: store.module.clone(),
    };
    let hand_over = before
        .is_empty()
        .then(|| format!("ALTER TABLE {table} OWNER TO {}", ident(owner)));
    before
        .into_iter()
        .chain([
            format!("CREATE TABLE {table} (tenant text NOT NULL, nonce text NOT NULL)"),
            format!(
                "INSERT INTO {table} VALUES ({}, pg_catalog.gen_random_uuid()::text)",
                literal(name_of(store))
            ),
            format!("COMMENT ON TABLE {table} IS {}", literal(&mark.to_string())),
        ])
        .chain(hand_over)
        // Read-only for the tenant, and nothing for those whom default privileges let in.
        .chain([
            format!("REVOKE ALL ON TABLE {table} FROM PUBLIC, {}", ident(owner)),
            format!("GRANT SELECT ON TABLE {table} TO {}", ident(owner)),
        ])
        .chain(after)
        .collect()
}

async fn carry_out(
    store: &Store,
    mut place: Place,
    wish: Wish,
    login: Login<'_>,
    gate: &Gate,
) -> Place {
    if place.action == Action::Leave {
        return place;
    }
    let mut outcome = Ok(());
    if !place.statements.is_empty() {
        outcome = match enter(store, login, gate).await {
            Ok(session) => {
                let outcome = run(&session, store, &place).await;
                session.close().await;
                outcome
            }
            Err(reason) => Err(reason),
        };
    }
    if outcome.is_ok() && wish == Wish::Make && store.password.is_some() {
        outcome = live::prove_canary(gate, store).await;
    }
    place.error = outcome.err().unwrap_or_default();
    place
}

/// Runs the statements of a place in one transaction.
async fn run(session: &Client, store: &Store, place: &Place) -> Result<(), String> {
    let told = |error: tokio_postgres::Error| Refusal::of(&error).message;
    let outcome = async {
        session
            .batch_execute("BEGIN; SET LOCAL lock_timeout = '5s'")
            .await
            .map_err(told)?;
        if place.action == Action::Remove {
            // It may have become another's since the plan was made.
            let mut now = place.clone();
            let found = look(session, store).await.map_err(told)?;
            found.decide(store, Wish::Remove, &mut now);
            if now.action != Action::Remove {
                return Err(now.reason);
            }
        }
        let back = place.statements.iter().position(|text| text == BACK);
        let (statements, after) = place
            .statements
            .split_at(back.unwrap_or(place.statements.len()));
        session
            .batch_execute(&statements.join(";\n"))
            .await
            .map_err(told)?;
        if place.action == Action::Make {
            let table = table_of(store);
            let found = look(session, store).await.map_err(told)?;
            for role in found.grantees.iter().filter(|role| !role.is_empty()) {
                let close = format!("REVOKE ALL ON TABLE {table} FROM {}", ident(role));
                session.batch_execute(&close).await.map_err(told)?;
            }
        }
        let end = format!("{};COMMIT", after.join(";\n"));
        session.batch_execute(&end).await.map_err(told)
    }
    .await;
    if outcome.is_err() {
        // The session is closed next, which does the same.
        let _ = session.batch_execute("ROLLBACK").await;
    }
    outcome
}
