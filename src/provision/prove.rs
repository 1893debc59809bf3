//! Proofs: what a tenant's login can and cannot reach, found by trying.
//!
//! A refusal counts only with the SQLSTATE that the rule behind it gives: a wrong password, a
//! database that is gone or a typing error refuse, too, and prove nothing. The first claim is the
//! positive control for all the others: the same login gets in where it should.

mod attempt;
mod facts;

use tokio_postgres::Client;

use super::apply::{ProvisionError, sql_error};
use super::plan::{DatabaseSpec, Slot};
use super::sql::ident;
use super::{Cluster, naming::DATABASES_ROLE};
use crate::contract::admin::Claim;
use crate::link::LinkError;
use crate::link::postgres::{ConnectError, PostgresEndpoint};
use crate::secret::Secret;
use attempt::{Answer, attempt, login};
use facts::Facts;

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
