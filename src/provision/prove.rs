//! Proofs: what a tenant's login can and cannot reach, found by trying.
//!
//! A refusal counts only with the SQLSTATE that the rule behind it gives: a wrong password, a
//! database that is gone or a typing error refuse, too, and prove nothing. The first claim is the
//! positive control for all the others: the same login gets in where it should.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::apply::{ProvisionError, sql_error};
use super::mark::Mark;
use super::plan::{DatabaseSpec, Slot};
use super::sql::ident;
use super::{Cluster, naming::DATABASES_ROLE};
use crate::contract::admin::Claim;
use crate::link::LinkError;
use crate::link::postgres::{ConnectError, PostgresEndpoint, Session};
use crate::secret::Secret;

/// A privilege is missing.
const NO_PRIVILEGE: &str = "42501";
/// The password is wrong, or there is none.
const WRONG_PASSWORD: &str = "28P01";
/// No rule lets the role in, or it may not log in.
const NO_LOGIN: &str = "28000";

/// Tries every claim about `spec` with the login of `slot`, as a product would connect.
pub(super) async fn claims(
    cluster: &Cluster,
    spec: &DatabaseSpec,
    slot: Slot,
    password: &Secret,
    foreign: Option<&DatabaseSpec>,
) -> Result<Vec<Claim>, ProvisionError> {
    let proof = Proof {
        spec,
        slot,
        endpoint: product_endpoint(cluster, spec, slot, password),
        foreign: foreign.filter(|foreign| foreign.cluster == spec.cluster),
        action: format!("prove isolation for {}", spec.place()),
    };
    let own = proof.endpoint.try_connect("").await;
    let mut list = List {
        subject: spec.place(),
        claims: Vec::new(),
    };
    let session = match own {
        Ok(session) => session,
        Err(ConnectError {
            link: LinkError::Refused { reason, .. },
            ..
        }) => {
            list.add("its login reaches it", false, reason);
            return Ok(list.claims);
        }
        Err(error) => return Err(error.link.into()),
    };
    let facts = proof.facts(&session).await?;
    proof.reach(&session, &facts, &mut list).await?;
    proof.rights(&session, &facts, &mut list).await?;
    let (other_login, foreign) = tokio::join!(
        proof.other_login(&facts),
        proof.foreign_claims(&session, &facts)
    );
    list.claims.extend(other_login?);
    list.claims.extend(foreign?);
    session.close().await;
    Ok(list.claims)
}

/// Returns the endpoint that a product gets, with the schema pinned as its library does.
fn product_endpoint(
    cluster: &Cluster,
    spec: &DatabaseSpec,
    slot: Slot,
    password: &Secret,
) -> PostgresEndpoint {
    PostgresEndpoint {
        host: cluster.public_host.clone(),
        port: cluster.public_port,
        database: spec.names.database.clone(),
        user: spec.login(slot).to_owned(),
        password: Some(password.clone()),
        // What products do when they are told nothing.
        sslmode: if cluster.public_sslmode.is_empty() {
            "disable".into()
        } else {
            cluster.public_sslmode.clone()
        },
        ca_pem: cluster.admin.ca_pem.clone(),
        search_path: spec.names.schema.clone(),
    }
}

struct List {
    subject: String,
    claims: Vec<Claim>,
}

impl List {
    fn add(&mut self, claim: impl Into<String>, holds: bool, evidence: impl Into<String>) {
        self.claims.push(Claim {
            subject: self.subject.clone(),
            claim: claim.into(),
            holds,
            evidence: evidence.into(),
        });
    }
}

/// What the catalogue says to the tenant's own session.
struct Facts {
    database: String,
    session_user: String,
    current_user: String,
    schema: Option<String>,
    attributes: Vec<String>,
    memberships: Vec<String>,
    members: Vec<String>,
    path_pinned: bool,
    public_rights: Vec<String>,
    database_owner: String,
    open_to_public: Vec<String>,
    other_is_open: bool,
    foreign: Foreign,
}

/// What there is of the foreign tenant.
struct Foreign {
    database: bool,
    takes_connections: bool,
    schema: bool,
    owner: bool,
    may_enter: bool,
}

struct Proof<'a> {
    spec: &'a DatabaseSpec,
    slot: Slot,
    endpoint: PostgresEndpoint,
    foreign: Option<&'a DatabaseSpec>,
    action: String,
}

impl Proof<'_> {
    fn sql(&self, error: &tokio_postgres::Error) -> ProvisionError {
        sql_error(&self.action, error)
    }

    async fn facts(&self, session: &Client) -> Result<Facts, ProvisionError> {
        let names = &self.spec.names;
        let roles: Vec<&str> = self.spec.roles().to_vec();
        let other = self.spec.login(self.slot ^ 1);
        let foreign = self.foreign.map(|foreign| &foreign.names);
        let foreign_database = foreign.map_or("", |names| &names.database);
        let foreign_schema = foreign
            .and_then(|names| names.schema.as_deref())
            .unwrap_or("");
        let foreign_owner = foreign.map_or("", |names| &names.owner);
        let mine = Mark::of(self.spec).to_string();
        let row = session
            .query_typed_one(
                FACTS,
                &[
                    (&roles, Type::NAME_ARRAY),
                    (&names.schema.as_deref().unwrap_or("public"), Type::TEXT),
                    (&other, Type::NAME),
                    (&foreign_database, Type::NAME),
                    (&foreign_schema, Type::NAME),
                    (&foreign_owner, Type::NAME),
                    (&mine, Type::TEXT),
                ],
            )
            .await
            .map_err(|error| self.sql(&error))?;
        Ok(Facts {
            database: row.get(0),
            session_user: row.get(1),
            current_user: row.get(2),
            schema: row.get(3),
            attributes: row.get(4),
            memberships: row.get(5),
            members: row.get(6),
            path_pinned: row.get(7),
            public_rights: row.get(8),
            database_owner: row.get(9),
            open_to_public: row.get(10),
            other_is_open: row.get(11),
            foreign: Foreign {
                database: row.get(12),
                takes_connections: row.get(13),
                schema: row.get(14),
                owner: row.get(15),
                may_enter: row.get(16),
            },
        })
    }

    /// What must work.
    async fn reach(
        &self,
        session: &Client,
        facts: &Facts,
        list: &mut List,
    ) -> Result<(), ProvisionError> {
        let names = &self.spec.names;
        let login = self.spec.login(self.slot);
        list.add(
            "its login reaches it",
            facts.database == names.database && facts.session_user == login,
            format!("`{}` is in `{}`", facts.session_user, facts.database),
        );
        list.add(
            "sessions work as the owner role, so that objects belong to it",
            facts.current_user == names.owner,
            format!("current user `{}`", facts.current_user),
        );
        let schema = names.schema.as_deref().unwrap_or("public");
        list.add(
            format!("sessions land in schema `{schema}`"),
            facts.schema.as_deref() == Some(schema) && facts.path_pinned,
            match (&facts.schema, facts.path_pinned) {
                (Some(schema), true) => format!("current schema `{schema}`"),
                (Some(schema), false) => {
                    format!(
                        "current schema `{schema}`, but the login has no search path of its own"
                    )
                }
                (None, _) => "no current schema".into(),
            },
        );
        let table = format!("{}.{}", ident(schema), ident(&probe_name()));
        let made = attempt(
            session,
            &format!("CREATE TABLE {table} (id int); DROP TABLE {table}"),
        )
        .await
        .map_err(|error| self.sql(&error))?;
        list.add(
            "its login can make and drop a table there",
            made.is_none(),
            made.map_or_else(
                || "done and rolled back".into(),
                |refusal| refusal.to_string(),
            ),
        );
        Ok(())
    }

    /// What must be refused, whoever else there is.
    async fn rights(
        &self,
        session: &Client,
        facts: &Facts,
        list: &mut List,
    ) -> Result<(), ProvisionError> {
        let names = &self.spec.names;
        list.add(
            "its roles have no rights on the cluster",
            facts.attributes.is_empty(),
            or_none(
                &facts.attributes,
                "no superuser, role, database, replication or row-security right",
            ),
        );
        list.add(
            "its login is a member of its owner role alone, and no other tenant is",
            facts.memberships == [names.owner.as_str()] && facts.members.is_empty(),
            format!(
                "member of {}; foreign members: {}",
                or_none(&facts.memberships, "nothing"),
                or_none(&facts.members, "none")
            ),
        );
        list.add(
            "`PUBLIC` has no rights on its database",
            facts.public_rights.is_empty(),
            format!(
                "{}; open to `PUBLIC` by the cluster's own settings: {}",
                or_none(&facts.public_rights, "none"),
                or_none(&facts.open_to_public, "none")
            ),
        );
        list.add(
            "its database belongs to a role that nobody logs in as",
            facts.database_owner == DATABASES_ROLE,
            format!("it belongs to `{}`", facts.database_owner),
        );
        let database = ident(&names.database);
        let mut refused = vec![(
            "it cannot open its database to others".to_owned(),
            format!("ALTER DATABASE {database} CONNECTION LIMIT -1"),
        )];
        if names.schema.is_some() {
            let probe = ident(&probe_name());
            refused.extend([
                (
                    "it cannot make objects in `public`".to_owned(),
                    format!("CREATE TABLE public.{probe} ()"),
                ),
                (
                    "it cannot make schemas in the shared database".to_owned(),
                    format!("CREATE SCHEMA {probe}"),
                ),
                (
                    "it cannot fill the shared disk with temporary tables".to_owned(),
                    format!("CREATE TEMPORARY TABLE {probe} ()"),
                ),
            ]);
        }
        for (claim, statement) in refused {
            self.refused(session, list, claim, &statement).await?;
        }
        Ok(())
    }

    /// Claims that a statement is refused for want of a privilege.
    async fn refused(
        &self,
        session: &Client,
        list: &mut List,
        claim: impl Into<String>,
        statement: &str,
    ) -> Result<(), ProvisionError> {
        let refusal = attempt(session, statement)
            .await
            .map_err(|error| self.sql(&error))?;
        match refusal {
            Some(refusal) => {
                let holds = refusal.sqlstate == NO_PRIVILEGE;
                list.add(claim, holds, refusal.to_string());
            }
            None => list.add(claim, false, "it was allowed"),
        }
        Ok(())
    }

    /// The other login must not get in with this password: it is closed, or has its own.
    async fn other_login(&self, facts: &Facts) -> Result<Vec<Claim>, ProvisionError> {
        let other = self.spec.login(self.slot ^ 1);
        let mut list = List {
            subject: self.spec.place(),
            claims: Vec::new(),
        };
        let state = if facts.other_is_open {
            "open with a password of its own until its grace period ends"
        } else {
            "closed"
        };
        let claim = format!("`{other}` is refused with this password");
        let endpoint = PostgresEndpoint {
            user: other.to_owned(),
            ..self.endpoint.clone()
        };
        let answer = login(&endpoint).await?;
        let holds = matches!(&answer, Some(refusal)
            if matches!(refusal.sqlstate.as_str(), WRONG_PASSWORD | NO_LOGIN));
        let by_password = matches!(&answer, Some(refusal) if refusal.sqlstate == WRONG_PASSWORD);
        list.add(claim, holds, format!("{}; {state}", shown(answer.as_ref())));
        if !by_password {
            // It was not the password that was refused. Does the server ask for one at all?
            let endpoint = PostgresEndpoint {
                password: Some(Secret::generate()),
                ..self.endpoint.clone()
            };
            let answer = login(&endpoint).await?;
            let holds = matches!(&answer, Some(refusal) if refusal.sqlstate == WRONG_PASSWORD);
            list.add("a wrong password is refused", holds, shown(answer.as_ref()));
        }
        Ok(list.claims)
    }

    /// What of another tenant must be out of reach.
    async fn foreign_claims(
        &self,
        session: &Client,
        facts: &Facts,
    ) -> Result<Vec<Claim>, ProvisionError> {
        let mut list = List {
            subject: self.spec.place(),
            claims: Vec::new(),
        };
        let Some(foreign) = self.foreign else {
            return Ok(list.claims);
        };
        let whose = format!("of tenant {}", foreign.tenant_slug);
        let names = &foreign.names;
        // Nothing is claimed about what does not exist (any more, or yet).
        if names.database != self.spec.names.database && facts.foreign.database {
            let endpoint = PostgresEndpoint {
                search_path: None,
                ..self.endpoint.with_database(&names.database)
            };
            let answer = login(&endpoint).await?;
            let gone = matches!(&answer, Some(refusal)
                if refusal.sqlstate == "3D000"
                    || refusal.sqlstate == "55000" && !facts.foreign.takes_connections);
            if !gone {
                let holds = matches!(&answer, Some(refusal) if refusal.sqlstate == NO_PRIVILEGE);
                list.add(
                    format!(
                        "its login cannot enter database `{}` {whose}",
                        names.database
                    ),
                    holds,
                    shown(answer.as_ref()),
                );
            }
        }
        if let Some(schema) = names.schema.as_ref().filter(|_| facts.foreign.schema) {
            let probe = format!("{}.{}", ident(schema), ident(&probe_name()));
            for (verb, statement) in [
                ("read", format!("SELECT FROM {probe}")),
                ("write", format!("CREATE TABLE {probe} ()")),
            ] {
                let claim = format!("its login cannot {verb} schema `{schema}` {whose}");
                self.refused(session, &mut list, claim, &statement).await?;
            }
        }
        if facts.foreign.owner {
            let statement = format!("SET LOCAL ROLE {}", ident(&names.owner));
            let claim = format!("its login cannot become role `{}` {whose}", names.owner);
            self.refused(session, &mut list, claim, &statement).await?;
            list.add(
                format!("role `{}` {whose} has no rights here", names.owner),
                !facts.foreign.may_enter,
                if facts.foreign.may_enter {
                    "the catalogue says that it has"
                } else {
                    "the catalogue says so"
                },
            );
        }
        Ok(list.claims)
    }
}

/// A refusal as PostgreSQL gave it.
struct Refusal {
    sqlstate: String,
    message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.contains(&self.sqlstate) {
            write!(f, "refused: {}", self.message)
        } else {
            write!(f, "refused: {} ({})", self.message, self.sqlstate)
        }
    }
}

fn shown(answer: Option<&Refusal>) -> String {
    answer.map_or_else(|| "it got in".into(), ToString::to_string)
}

/// Tries a statement in a transaction that is rolled back; `None` when it was allowed.
async fn attempt(
    session: &Client,
    statement: &str,
) -> Result<Option<Refusal>, tokio_postgres::Error> {
    let script = format!("BEGIN; {statement}; ROLLBACK");
    let Err(error) = session.batch_execute(&script).await else {
        return Ok(None);
    };
    let Some(db) = error.as_db_error() else {
        return Err(error);
    };
    let refusal = Refusal {
        sqlstate: db.code().code().to_owned(),
        message: crate::link::redis::printable(db.message()),
    };
    session.batch_execute("ROLLBACK").await?;
    Ok(Some(refusal))
}

/// Tries to log in; `None` when it got in.
async fn login(endpoint: &PostgresEndpoint) -> Result<Option<Refusal>, ProvisionError> {
    match endpoint.try_connect("").await {
        Ok(session) => {
            Session::close(session).await;
            Ok(None)
        }
        Err(ConnectError {
            link: LinkError::Refused { reason, .. },
            sqlstate,
        }) => Ok(Some(Refusal {
            sqlstate: sqlstate.unwrap_or_default(),
            message: reason,
        })),
        Err(error) => Err(error.link.into()),
    }
}

/// Returns a name that no product has given to anything.
fn probe_name() -> String {
    let random = u64::from_le_bytes(crate::secret::random_bytes());
    format!("lerianctl_probe_{random:016x}")
}

fn or_none(items: &[String], none: &str) -> String {
    if items.is_empty() {
        none.to_owned()
    } else {
        items.join(", ")
    }
}

/// One question for all that the catalogue knows. Everything is qualified: the session's own
/// search path starts with a schema of the tenant's.
const FACTS: &str = "\
WITH RECURSIVE reach(oid) AS (
  SELECT m.roleid FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles r ON r.oid = m.member WHERE r.rolname = session_user
  UNION
  SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reach ON reach.oid = m.member)
SELECT current_database()::text, session_user::text, current_user::text, current_schema()::text,
  ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.rolname = ANY ($1)
    AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls)),
  ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r JOIN reach ON reach.oid = r.oid
    ORDER BY 1),
  ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles r ON r.oid = m.member
    JOIN pg_catalog.pg_roles own ON own.oid = m.roleid
    WHERE own.rolname = ANY ($1)
      AND pg_catalog.shobj_description(r.oid, 'pg_authid') LIKE 'lerianctl/1 kind=tenant %'
      AND pg_catalog.shobj_description(r.oid, 'pg_authid') <> $7),
  $2 = 'public' OR EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s
    JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
    WHERE r.rolname = session_user AND d.datname = current_database()
      AND ('search_path=' || $2) = ANY (s.setconfig)),
  ARRAY(SELECT a.privilege_type FROM pg_catalog.pg_database d,
    pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
    WHERE d.datname = current_database() AND a.grantee = 0),
  (SELECT pg_catalog.pg_get_userbyid(d.datdba)::text FROM pg_catalog.pg_database d
    WHERE d.datname = current_database()),
  ARRAY(SELECT d.datname::text FROM pg_catalog.pg_database d
    WHERE d.datname IN ('postgres', 'template1') AND d.datallowconn
      AND pg_catalog.has_database_privilege('public', d.oid, 'CONNECT')),
  coalesce((SELECT r.rolcanlogin FROM pg_catalog.pg_roles r WHERE r.rolname = $3), false),
  EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname = $4),
  EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname = $4 AND d.datallowconn),
  EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = $5),
  EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = $6),
  coalesce((SELECT CASE WHEN $2 = 'public'
      THEN pg_catalog.has_database_privilege(r.oid, current_database()::text, 'CONNECT')
      ELSE EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = $2
        AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')) END
    FROM pg_catalog.pg_roles r WHERE r.rolname = $6), false)";
