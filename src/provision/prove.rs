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
/// There is no such database.
const NO_DATABASE: &str = "3D000";
/// Nobody may connect to the database: it is being made.
const NOT_ACCEPTING: &str = "55000";

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
    // Every login costs the server a process: they are tried side by side.
    let (own, other, foreign) = tokio::join!(
        proof.endpoint.try_connect(""),
        proof.try_other_login(),
        proof.try_foreign_database()
    );
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
    proof.other_login(&other?, &facts, &mut list).await?;
    proof
        .foreign_claims(&session, foreign?, &facts, &mut list)
        .await?;
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
                schema: row.get(13),
                owner: row.get(14),
                may_enter: row.get(15),
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
            matches!(made, Answer::Allowed),
            match made {
                Answer::Allowed => "done and rolled back".into(),
                refused @ Answer::Refused { .. } => refused.to_string(),
            },
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
        let answer = attempt(session, statement)
            .await
            .map_err(|error| self.sql(&error))?;
        list.add(
            claim,
            answer.is_refused_with(NO_PRIVILEGE),
            answer.to_string(),
        );
        Ok(())
    }

    /// Tries the other login with this password.
    async fn try_other_login(&self) -> Result<Answer, ProvisionError> {
        let endpoint = PostgresEndpoint {
            user: self.spec.login(self.slot ^ 1).to_owned(),
            ..self.endpoint.clone()
        };
        login(&endpoint).await
    }

    /// The other login must not get in with this password: it is closed, or has its own.
    async fn other_login(
        &self,
        answer: &Answer,
        facts: &Facts,
        list: &mut List,
    ) -> Result<(), ProvisionError> {
        let state = if facts.other_is_open {
            "open with a password of its own until its grace period ends"
        } else {
            "closed"
        };
        list.add(
            format!(
                "`{}` is refused with this password",
                self.spec.login(self.slot ^ 1)
            ),
            answer.is_refused_with(WRONG_PASSWORD) || answer.is_refused_with(NO_LOGIN),
            format!("{answer}; {state}"),
        );
        if !answer.is_refused_with(WRONG_PASSWORD) {
            // It was not the password that was refused. Does the server ask for one at all?
            let endpoint = PostgresEndpoint {
                password: Some(Secret::generate()),
                ..self.endpoint.clone()
            };
            let answer = login(&endpoint).await?;
            list.add(
                "a wrong password is refused",
                answer.is_refused_with(WRONG_PASSWORD),
                answer.to_string(),
            );
        }
        Ok(())
    }

    /// Tries this login in the other tenant's database; `None` when there is no other database.
    async fn try_foreign_database(&self) -> Result<Option<Answer>, ProvisionError> {
        let Some(foreign) = self.foreign else {
            return Ok(None);
        };
        if foreign.names.database == self.spec.names.database {
            return Ok(None);
        }
        let endpoint = PostgresEndpoint {
            search_path: None,
            ..self.endpoint.with_database(&foreign.names.database)
        };
        Ok(Some(login(&endpoint).await?))
    }

    /// What of another tenant must be out of reach.
    ///
    /// Nothing is claimed about what does not exist yet, or any more.
    async fn foreign_claims(
        &self,
        session: &Client,
        entered: Option<Answer>,
        facts: &Facts,
        list: &mut List,
    ) -> Result<(), ProvisionError> {
        let Some(foreign) = self.foreign else {
            return Ok(());
        };
        let whose = format!("of tenant {}", foreign.tenant_slug);
        let names = &foreign.names;
        if let Some(answer) = entered {
            let gone = answer.is_refused_with(NO_DATABASE) && !facts.foreign.database;
            let in_the_making = answer.is_refused_with(NOT_ACCEPTING);
            if !gone && !in_the_making {
                list.add(
                    format!(
                        "its login cannot enter database `{}` {whose}",
                        names.database
                    ),
                    answer.is_refused_with(NO_PRIVILEGE),
                    answer.to_string(),
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
                self.refused(session, list, claim, &statement).await?;
            }
        }
        if facts.foreign.owner {
            let statement = format!("SET LOCAL ROLE {}", ident(&names.owner));
            let claim = format!("its login cannot become role `{}` {whose}", names.owner);
            self.refused(session, list, claim, &statement).await?;
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
        Ok(())
    }
}

/// What PostgreSQL answered to something that was tried.
enum Answer {
    Allowed,
    Refused { sqlstate: String, message: String },
}

impl Answer {
    fn is_refused_with(&self, code: &str) -> bool {
        matches!(self, Self::Refused { sqlstate, .. } if sqlstate == code)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allowed => f.write_str("it was allowed"),
            Self::Refused { sqlstate, message } if message.contains(sqlstate) => {
                write!(f, "refused: {message}")
            }
            Self::Refused { sqlstate, message } => write!(f, "refused: {message} ({sqlstate})"),
        }
    }
}

/// Tries a statement in a transaction that is rolled back.
async fn attempt(session: &Client, statement: &str) -> Result<Answer, tokio_postgres::Error> {
    let script = format!("BEGIN; {statement}");
    // Sent together: a session is never left inside of the transaction.
    let (tried, rolled_back) = tokio::join!(
        session.batch_execute(&script),
        session.batch_execute("ROLLBACK")
    );
    rolled_back?;
    let Err(error) = tried else {
        return Ok(Answer::Allowed);
    };
    let Some(db) = error.as_db_error() else {
        return Err(error);
    };
    Ok(Answer::Refused {
        sqlstate: db.code().code().to_owned(),
        message: crate::link::redis::printable(db.message()),
    })
}

/// Tries to log in.
async fn login(endpoint: &PostgresEndpoint) -> Result<Answer, ProvisionError> {
    match endpoint.try_connect("").await {
        Ok(session) => {
            Session::close(session).await;
            Ok(Answer::Allowed)
        }
        Err(ConnectError {
            link: LinkError::Refused { reason, .. },
            sqlstate,
        }) => Ok(Answer::Refused {
            sqlstate: sqlstate.unwrap_or_default(),
            message: reason,
        }),
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
  EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = $5),
  EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = $6),
  coalesce((SELECT CASE WHEN $2 = 'public'
      THEN pg_catalog.has_database_privilege(r.oid, current_database()::text, 'CONNECT')
      ELSE EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = $2
        AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')) END
    FROM pg_catalog.pg_roles r WHERE r.rolname = $6), false)";
