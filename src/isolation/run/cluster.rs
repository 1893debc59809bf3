//! One cluster: who reads it, its facts, its catalogues and those of its databases.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::future::join;
use futures_util::stream;
use tokio_postgres::Client;

use super::besides::Identity;
use super::maintenance;
use super::skew::{self, Applied};
use super::tally::Tallies;
use super::{Progress, Settings};
use crate::isolation::audit::{self, Answer, READ_ONLY, Raw, Refusal};
use crate::isolation::catalogue::known;
use crate::isolation::inventory::{Inventory, Store, rows};
use crate::isolation::model::{Check, Family, Finding};
use crate::isolation::products::Room;
use crate::isolation::report::{ClusterFacts, Coverage};
use crate::link::postgres::{Gate, PostgresEndpoint, Session};

/// Checks that want more rights than a plain login has; without them they prove nothing.
const PRIVILEGED: &[&str] = &["PG-014", "PG-015"];

/// Check that sees nothing where the addresses of others' sessions are hidden.
const ADDRESSES: &str = "PG-024";

/// Checks that are asked again at the end.
const AGAIN: [&str; 2] = ["PG-002", "PG-007"];

/// Tenants by role.
type Owners = BTreeMap<String, Vec<String>>;

/// What a database's catalogues were asked, and answered.
struct Read {
    database: String,
    asked: Vec<&'static Check>,
    outcome: Result<Vec<Answer>, String>,
}

pub(super) struct Cluster {
    facts: ClusterFacts,
    stores: Vec<Store>,
    auditor: Option<PostgresEndpoint>,
    complete: bool,
    version: i32,
    room: Room,
    recovering: bool,
    started: String,
    /// Whether the reader sees the sessions of others as a whole.
    sees_sessions: bool,
    versions: Vec<Applied>,
    first: BTreeMap<&'static str, Vec<Raw>>,
    /// Roles by each of their members, as far as the membership conveys anything.
    memberships: BTreeMap<String, Vec<String>>,
    gate: Gate,
    /// Whether any catalogue answered.
    read: bool,
}

impl Cluster {
    pub(super) fn new(
        address: &str,
        stores: &[&Store],
        inventory: &Inventory,
        settings: &Settings,
        gate: &Gate,
        is_of_here: impl Fn(&PostgresEndpoint) -> bool,
    ) -> Self {
        let auditor = settings
            .auditors
            .iter()
            .find(|auditor| auditor.address() == address || is_of_here(auditor))
            .cloned();
        let mut databases: BTreeSet<&str> = BTreeSet::new();
        let mut schemas: BTreeSet<&str> = BTreeSet::new();
        for store in stores {
            match &store.schema {
                Some(schema) => schemas.insert(schema),
                None => databases.insert(&store.database),
            };
        }
        Self {
            facts: ClusterFacts {
                address: address.to_owned(),
                databases: databases.len(),
                schemas: schemas.len(),
                ..ClusterFacts::default()
            },
            stores: stores.iter().map(|store| (*store).clone()).collect(),
            auditor,
            complete: inventory.complete,
            version: 0,
            room: Room::default(),
            recovering: false,
            started: String::new(),
            sees_sessions: false,
            versions: Vec::new(),
            first: BTreeMap::new(),
            memberships: BTreeMap::new(),
            gate: gate.clone(),
            read: false,
        }
    }

    pub(super) fn auditor(&self) -> Option<&PostgresEndpoint> {
        self.auditor.as_ref()
    }

    pub(super) fn version(&self) -> i32 {
        self.version
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    pub(super) fn facts(&self) -> ClusterFacts {
        self.facts.clone()
    }

    /// Returns the ordered pairs of tenants that its catalogues answered for: none when none did.
    pub(super) fn pairs(&self) -> u64 {
        let tenants: BTreeSet<&str> = self.stores.iter().map(|s| s.tenant.as_str()).collect();
        let tenants = if self.read { tenants.len() as u64 } else { 0 };
        tenants * tenants.saturating_sub(1)
    }

    pub(super) fn stores(&self) -> &[Store] {
        &self.stores
    }

    /// Returns whose each role is: a tenant's own, or else of everyone who has its rights.
    fn owners(&self) -> Owners {
        let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for store in &self.stores {
            for role in std::iter::once(&store.login).chain(&store.roles) {
                owners.entry(role).or_default().insert(&store.tenant);
            }
        }
        let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (role, tenants) in &owners {
            let mut seen = BTreeSet::from([*role]);
            let mut next = vec![*role];
            while let Some(role) = next.pop() {
                for of in self.memberships.get(role).into_iter().flatten() {
                    if seen.insert(of) {
                        next.push(of);
                        if !owners.contains_key(of.as_str()) {
                            members.entry(of).or_default().extend(tenants);
                        }
                    }
                }
            }
        }
        owners.extend(members);
        let names = |tenants: BTreeSet<&str>| tenants.into_iter().map(ToOwned::to_owned).collect();
        owners
            .into_iter()
            .map(|(role, tenants)| (role.to_owned(), names(tenants)))
            .collect()
    }

    /// Returns what tells this server from others.
    pub(super) fn identity(&self) -> Identity {
        let tenants: BTreeSet<&String> = self.stores.iter().map(|store| &store.tenant).collect();
        Identity {
            address: self.facts.address.clone(),
            system: self.facts.system.clone(),
            started: self.started.clone(),
            recovering: self.recovering,
            tenants: tenants.into_iter().cloned().collect(),
        }
    }

    /// Returns the versions of the migrations that were found.
    pub(super) fn versions(&mut self) -> Vec<Applied> {
        std::mem::take(&mut self.versions)
    }

    /// Asks again what may be reached, and tells what is otherwise than at the beginning.
    pub(super) async fn again(&mut self, tallies: &mut Tallies) {
        const ID: &str = "PG-215";
        if self.first.is_empty() {
            return;
        }
        let session = match self.reader(None).await {
            Ok(session) => session,
            Err(reason) => {
                tallies.failed(ID, reason);
                return;
            }
        };
        let checks: Vec<&'static Check> = self.first.keys().map(|id| known(id)).collect();
        let inventory = rows(&self.stores, self.complete);
        let answers = audit::ask(&session, &checks, &inventory).await;
        session.close().await;
        for (check, answer) in answers {
            match answer {
                Ok(raw) => {
                    tallies.looked(ID, 1);
                    let key = |raw: &Raw| (raw.object.clone(), raw.roles.clone());
                    let before: BTreeSet<_> = self.first[check.id].iter().map(key).collect();
                    let after: BTreeSet<_> = raw.iter().map(key).collect();
                    if before != after {
                        let object = format!("what {} found", check.id);
                        let mut finding = Finding::new(known(ID), &self.facts.address, object);
                        finding.evidence = format!(
                            "{} of it is new, and {} is gone, since the run began",
                            after.difference(&before).count(),
                            before.difference(&after).count()
                        );
                        tallies.find(vec![finding]);
                    }
                }
                Err(refusal) => tallies.failed(ID, refusal.message),
            }
        }
    }

    /// Reads the catalogues of the cluster and of every database.
    pub(super) async fn audit(
        &mut self,
        settings: &Settings,
        tallies: &mut Tallies,
        coverage: &mut Coverage,
        progress: Progress<'_>,
    ) {
        progress("the catalogues of the cluster", 0, 0);
        let mut checks = settings.wanted(Family::Cluster);
        checks.retain(|check| check.sql.is_some());
        let session = match self.reader(None).await {
            Ok(session) => session,
            Err(reason) => {
                for check in checks.into_iter().chain(settings.wanted(Family::Database)) {
                    tallies.failed(check.id, format!("{}: {reason}", self.facts.address));
                }
                return;
            }
        };
        if let Err(refusal) = self.learn(&session).await {
            tracing::debug!(
                message = refusal.message,
                "facts of a cluster are not known"
            );
        }
        let applicable: Vec<&Check> =
            audit::applicable(checks.iter().copied(), self.version, true).collect();
        for check in checks.iter().filter(|check| check.since > self.version) {
            tallies.skip(check.id, "this version of PostgreSQL does not have it");
        }
        let inventory = rows(&self.stores, self.complete);
        let of_cluster = async {
            let answers = audit::ask(&session, &applicable, &inventory).await;
            let meeting = maintenance::ask(&session, &self.stores, &inventory, settings).await;
            session.close().await;
            (answers, meeting)
        };
        let of_databases = self.databases(settings, progress);
        // Statements about all pairs take long in large clusters; the databases need not wait. With
        // one place they have to: it is the cluster's session that holds it.
        let ((answers, meeting), databases) = if self.gate.bound() > 1 {
            join(of_cluster, of_databases).await
        } else {
            (of_cluster.await, of_databases.await)
        };
        coverage.statements += applicable.len() as u64;
        let owners = self.owners();
        if let Some((database, answers)) = meeting {
            coverage.statements += answers.len() as u64;
            self.take(answers, &owners, &database, tallies);
        }
        maintenance::template(
            &self.gate,
            self.auditor.as_ref(),
            settings,
            &self.facts,
            tallies,
        )
        .await;
        self.take(answers, &owners, "", tallies);
        coverage.databases += databases.len() as u64;
        for Read {
            database,
            asked,
            outcome,
        } in databases
        {
            match outcome {
                Ok(answers) => {
                    coverage.databases_read += 1;
                    coverage.statements += asked.len() as u64;
                    self.take(answers, &owners, &database, tallies);
                }
                Err(reason) => {
                    for check in asked {
                        tallies.failed(check.id, format!("database {database}: {reason}"));
                    }
                }
            }
        }
    }

    /// Opens a session that reads: the auditor's, or a tenant's own.
    async fn reader(&mut self, database: Option<&str>) -> Result<Session, String> {
        let of_tenant = self
            .stores
            .iter()
            .filter(|store| database.is_none_or(|database| store.database == database))
            .find_map(Store::endpoint);
        let (session, name) = reader(
            &self.gate,
            self.auditor.as_ref(),
            of_tenant.as_ref(),
            database,
        )
        .await?;
        if database.is_none() {
            self.facts.reader = name;
        }
        Ok(session)
    }

    async fn learn(&mut self, session: &Client) -> Result<(), Refusal> {
        let refused = |error: tokio_postgres::Error| Refusal::of(&error);
        let row = session
            .query_typed_one(
                "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
                 current_setting('max_connections')::bigint, \
                 current_setting('superuser_reserved_connections')::bigint, pg_is_in_recovery(), \
                 pg_postmaster_start_time()::text, \
                 pg_has_role('pg_read_all_stats', 'USAGE')",
                &[],
            )
            .await
            .map_err(refused)?;
        self.version = row.get(0);
        self.facts.version = row.get(1);
        self.room = Room {
            most: row.get(2),
            reserved: row.get(3),
        };
        self.recovering = row.get(4);
        self.started = row.get(5);
        self.sees_sessions = row.get(6);
        let marks = "SELECT r.rolname::text, shobj_description(r.oid, 'pg_authid') FROM pg_roles r \
                     WHERE shobj_description(r.oid, 'pg_authid') LIKE 'lerianctl/1 kind=tenant %'";
        let marked = session.query_typed(marks, &[]).await.map_err(refused)?;
        let mut by_tenant: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for row in marked {
            let (role, mark): (String, String) = (row.get(0), row.get(1));
            let field = |name: &str| {
                mark.split(' ')
                    .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                    .unwrap_or_default()
                    .to_owned()
            };
            let whose = (role, format!("{}/{}", field("service"), field("module")));
            by_tenant.entry(field("tenant")).or_default().push(whose);
        }
        for store in &mut self.stores {
            let place = format!("{}/{}", store.service, store.module);
            for (role, of) in by_tenant.get(&store.tenant_id).into_iter().flatten() {
                if *of == place && *role != store.login && !store.roles.contains(role) {
                    store.roles.push(role.clone());
                }
            }
        }
        let members = "SELECT pg_get_userbyid(m.member)::text, pg_get_userbyid(m.roleid)::text \
                       FROM pg_auth_members m WHERE m.admin_option \
                       OR coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true) \
                       OR coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)";
        for row in session.query_typed(members, &[]).await.map_err(refused)? {
            let member: String = row.get(0);
            self.memberships.entry(member).or_default().push(row.get(1));
        }
        // Not on every managed service; then the identity stays unknown.
        let system = "SELECT system_identifier::text FROM pg_control_system()";
        if let Ok(row) = session.query_typed_one(system, &[]).await {
            self.facts.system = row.get(0);
        }
        Ok(())
    }

    /// Reads the catalogues of every database.
    async fn databases(&self, settings: &Settings, progress: Progress<'_>) -> Vec<Read> {
        let checks = settings.wanted(Family::Database);
        if checks.is_empty() {
            return Vec::new();
        }
        let mut by_database: BTreeMap<&str, Vec<&Store>> = BTreeMap::new();
        for store in self.stores.iter().filter(|store| store.status != "purged") {
            by_database.entry(&store.database).or_default().push(store);
        }
        let total = by_database.len() as u64;
        let (auditor, complete, version) = (self.auditor.as_ref(), self.complete, self.version);
        let gate = &self.gate;
        let checks = &checks;
        let mut reading = stream::iter(by_database)
            .map(|(database, stores)| async move {
                let of_tenant = stores.iter().find_map(|store| store.endpoint());
                let shared = stores.iter().any(|store| store.schema.is_some())
                    || stores.iter().any(|store| store.tenant != stores[0].tenant);
                let asked: Vec<&'static Check> =
                    audit::applicable(checks.iter().copied(), version, shared).collect();
                let outcome = match reader(gate, auditor, of_tenant.as_ref(), Some(database)).await
                {
                    Ok((session, _)) => {
                        let inventory = rows(stores.iter().copied(), complete);
                        let answers = audit::ask(&session, &asked, &inventory).await;
                        session.close().await;
                        Ok(answers)
                    }
                    Err(reason) => Err(reason),
                };
                Read {
                    database: database.to_owned(),
                    asked,
                    outcome,
                }
            })
            .buffer_unordered(gate.bound());
        let mut done = Vec::new();
        while let Some(read) = reading.next().await {
            done.push(read);
            progress("the catalogues of the databases", done.len() as u64, total);
        }
        done
    }

    /// Turns answers into findings, with roles as tenants.
    fn take(
        &mut self,
        answers: Vec<Answer>,
        owners: &Owners,
        database: &str,
        tallies: &mut Tallies,
    ) {
        let tenants_of = |role: &str| owners.get(role).cloned().unwrap_or_default();
        for (check, answer) in answers {
            self.read |= answer.is_ok();
            match answer {
                // What was applied is compared when all databases have been read.
                Ok(raw) if check.id == skew::ID => {
                    let read = |raw: &Raw| Applied::read(&self.stores, database, raw);
                    self.versions.extend(raw.iter().flat_map(read));
                }
                Ok(_) if check.id == ADDRESSES && !self.sees_sessions => {
                    let reason = format!(
                        "{} does not see the addresses of others' sessions: GRANT pg_monitor",
                        self.facts.reader
                    );
                    tallies.unproven(check.id, reason);
                }
                Ok(raw) => {
                    tallies.looked(check.id, 1);
                    if AGAIN.contains(&check.id) {
                        self.first.insert(check.id, raw.clone());
                    }
                    let findings: Vec<Finding> = raw
                        .into_iter()
                        .map(|raw| raw.finding(check, &self.facts.address, &tenants_of))
                        .collect();
                    tallies.find(findings);
                }
                Err(refusal) if refusal.is_privilege() && PRIVILEGED.contains(&check.id) => {
                    tallies.unproven(
                        check.id,
                        format!("{} may not look: {}", self.facts.reader, refusal.message),
                    );
                }
                Err(refusal) => {
                    let place = if database.is_empty() {
                        self.facts.address.clone()
                    } else {
                        format!("database {database}")
                    };
                    tallies.failed(
                        check.id,
                        format!("{place}: {} ({})", refusal.message, refusal.sqlstate),
                    );
                }
            }
        }
    }
}

/// Opens a session that only reads, as the auditor or else as a tenant.
async fn reader(
    gate: &Gate,
    auditor: Option<&PostgresEndpoint>,
    of_tenant: Option<&PostgresEndpoint>,
    database: Option<&str>,
) -> Result<(Session, String), String> {
    let mut reason = "no login is known that could read it".to_owned();
    for (endpoint, word) in [(auditor, "auditor"), (of_tenant, "a tenant's own login")] {
        let Some(endpoint) = endpoint else { continue };
        let mut endpoint = PostgresEndpoint {
            search_path: None,
            ..endpoint.clone()
        };
        if let Some(database) = database {
            endpoint.database = database.to_owned();
        }
        match gate.connect(&endpoint, READ_ONLY).await {
            Ok(session) => return Ok((session, format!("{word} {}", endpoint.user))),
            Err(error) => reason = error.link.to_string(),
        }
    }
    Err(reason)
}
