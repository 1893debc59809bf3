//! Plans: the steps that make, rotate and remove one module's database. Pure.

use serde::{Deserialize, Serialize};

use super::naming::{DATABASES_ROLE, Names};
use super::statements;
use crate::contract::admin::PlannedStep;
use crate::contract::wire::{ConnectionSettings, IsolationMode};
use crate::contract::{ServiceName, Slug, TenantId};

/// What to provision for one module of a tenant. Stored in the registry; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSpec {
    /// Tenant.
    pub tenant_id: TenantId,
    /// Slug of the tenant, for marks and plans.
    pub tenant_slug: Slug,
    /// Service.
    pub service: ServiceName,
    /// Module.
    pub module: String,
    /// Isolation mode.
    pub mode: IsolationMode,
    /// Name of the [`super::Cluster`].
    pub cluster: String,
    /// Names on the cluster.
    pub names: Names,
    /// Limits and timeouts that are set on the roles.
    pub settings: ConnectionSettings,
}

/// What a plan shows in place of a password's verifier.
const HIDDEN_VERIFIER: &str = "SCRAM-SHA-256$…";

/// Which of the two login roles: 0 or 1. Credentials version `v` (from 1) uses slot `(v - 1) % 2`.
pub type Slot = usize;

/// One idempotent step. Running it again after a crash, at any point, completes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Cluster-wide: the role that owns databases, and in schema mode the shared database.
    Prepare,
    /// Owner and login roles with limits, marks and the password of `slot`.
    Roles {
        /// Login that gets the password; the other cannot log in.
        slot: Slot,
    },
    /// The database (database mode), from `template0`, closed to `PUBLIC`.
    Database,
    /// The schema and the privileges inside the database.
    Schema,
    /// Log in with `slot`'s password and try: own reach, refusal by others, no wider rights.
    Prove {
        /// Login to try.
        slot: Slot,
    },
    /// Rotation: give the idle login of `slot` its new password and let it log in.
    OpenLogin {
        /// Login to open.
        slot: Slot,
    },
    /// Rotation: retire the login of `slot`: no login, no password, sessions ended, objects
    /// reassigned to the owner.
    CloseLogin {
        /// Login to close.
        slot: Slot,
    },
    /// Removal: no login for either role, and every session ended.
    CloseAll,
    /// Removal: drop the schema with its content, or the database.
    DropData,
    /// Removal: drop the roles.
    DropRoles,
}

impl DatabaseSpec {
    /// Returns owner and logins.
    pub(super) fn roles(&self) -> [&str; 3] {
        let [a, b] = &self.names.logins;
        [&self.names.owner, a, b]
    }

    /// Returns the login role of a slot; slots count modulo two.
    pub fn login(&self, slot: Slot) -> &str {
        &self.names.logins[slot % 2]
    }

    /// Returns the place in words: `main/aurora_ledger_onboarding_85b18fdd152f`, with the schema
    /// after a dot in schema mode.
    pub fn place(&self) -> String {
        match &self.names.schema {
            Some(schema) => format!("{}/{}.{schema}", self.cluster, self.names.database),
            None => format!("{}/{}", self.cluster, self.names.database),
        }
    }
}

/// Returns the steps that provision `spec` with `slot` as the login handed out.
pub fn provision_steps(spec: &DatabaseSpec, slot: Slot) -> Vec<Step> {
    let mut steps = vec![Step::Prepare, Step::Roles { slot }];
    if spec.mode == IsolationMode::Database {
        steps.push(Step::Database);
    }
    steps.extend([Step::Schema, Step::Prove { slot }]);
    steps
}

/// Returns the steps before the new credentials are handed out: open the idle login and prove it.
pub fn rotate_steps(_spec: &DatabaseSpec, new: Slot) -> Vec<Step> {
    vec![Step::OpenLogin { slot: new }, Step::Prove { slot: new }]
}

/// Returns the steps after the grace period: close the login that was handed out before.
pub fn retire_steps(_spec: &DatabaseSpec, old: Slot) -> Vec<Step> {
    vec![Step::CloseLogin { slot: old }]
}

/// Returns the steps that remove `spec`, with its data or (`drop_data` false) only its logins.
///
/// Without its data everything stays in place and both logins are closed, so that provisioning
/// it again opens it.
pub fn remove_steps(_spec: &DatabaseSpec, drop_data: bool) -> Vec<Step> {
    if drop_data {
        vec![Step::CloseAll, Step::DropData, Step::DropRoles]
    } else {
        vec![Step::CloseAll]
    }
}

impl Step {
    /// Describes the step for a plan; SQL is shown with the password left out.
    ///
    /// The statements are those for objects that do not exist yet and an admin that is a
    /// superuser; what exists already is repaired instead of made.
    pub fn planned(&self, spec: &DatabaseSpec) -> PlannedStep {
        let names = &spec.names;
        let on_cluster = |name: &str| format!("{}/{name}", spec.cluster);
        let (action, target, sql) = match self {
            Self::Prepare => ("prepare cluster", on_cluster(DATABASES_ROLE), {
                let mut sql = statements::create_databases_role();
                if spec.mode == IsolationMode::Schema {
                    sql.push(statements::create_database(spec));
                    sql.extend(statements::settle_shared_database(spec));
                    sql.extend(statements::close_shared_public(spec));
                }
                sql
            }),
            Self::Roles { slot } => ("set up roles", on_cluster(&names.owner), {
                let verifier = |login| (login == *slot % 2).then_some(HIDDEN_VERIFIER);
                let mut sql = statements::create_owner(spec);
                sql.extend(statements::create_login(spec, 0, verifier(0)));
                sql.extend(statements::create_login(spec, 1, verifier(1)));
                sql.push(statements::grant_owner(spec));
                sql.extend(statements::login_settings(spec, 0));
                sql.extend(statements::login_settings(spec, 1));
                sql
            }),
            Self::Database => ("create database", spec.place(), {
                let mut sql = vec![statements::create_database(spec)];
                sql.extend(statements::settle_database(spec));
                sql
            }),
            Self::Schema => ("set up schema", spec.place(), {
                if let Some(schema) = &names.schema {
                    let mut sql = statements::create_schema(spec, schema);
                    sql.extend(statements::default_privileges(spec));
                    sql.extend(statements::join_shared_database(spec));
                    sql
                } else {
                    statements::settle_public(spec, true)
                }
            }),
            Self::Prove { slot } => ("prove isolation", on_cluster(spec.login(*slot)), vec![]),
            Self::OpenLogin { slot } => ("open login", on_cluster(spec.login(*slot)), {
                let mut sql = vec![
                    statements::reset_role(spec.login(*slot)),
                    statements::alter_login(spec, *slot, Some(HIDDEN_VERIFIER)),
                ];
                sql.extend(statements::login_settings(spec, *slot));
                sql.push(statements::grant_owner(spec));
                sql
            }),
            Self::CloseLogin { slot } => {
                let login = spec.login(*slot);
                ("close login", on_cluster(login), {
                    let mut sql = vec![
                        statements::close_login(login),
                        statements::end_sessions(&[login]),
                        statements::hand_over(spec, login),
                    ];
                    sql.extend(statements::drop_owned(&names.database, &[login]));
                    sql
                })
            }
            Self::CloseAll => ("close logins", spec.place(), {
                let logins = names.logins.each_ref().map(String::as_str);
                let mut sql = logins.map(statements::close_login).to_vec();
                sql.push(statements::end_sessions(&logins));
                sql
            }),
            Self::DropData => ("drop data", spec.place(), {
                if let Some(schema) = &names.schema {
                    let mut sql = vec![statements::drop_schema(schema)];
                    sql.extend(statements::drop_owned(&names.database, &spec.roles()));
                    sql
                } else {
                    vec![statements::drop_database(spec)]
                }
            }),
            Self::DropRoles => ("drop roles", on_cluster(&names.owner), {
                vec![statements::drop_roles(&spec.roles())]
            }),
        };
        PlannedStep {
            action: action.into(),
            target,
            sql,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(mode: IsolationMode) -> DatabaseSpec {
        let tenant_id: TenantId = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21".parse().unwrap();
        let tenant_slug: Slug = "aurora".parse().unwrap();
        let service: ServiceName = "ledger".parse().unwrap();
        DatabaseSpec {
            names: Names::make(&tenant_id, &tenant_slug, &service, "onboarding", mode),
            tenant_id,
            tenant_slug,
            service,
            module: "onboarding".into(),
            mode,
            cluster: "main".into(),
            settings: ConnectionSettings::default(),
        }
    }

    fn whole_life(spec: &DatabaseSpec) -> Vec<Step> {
        [
            provision_steps(spec, 0),
            rotate_steps(spec, 1),
            retire_steps(spec, 0),
            remove_steps(spec, true),
        ]
        .concat()
    }

    #[test]
    fn every_login_is_proved_before_it_is_handed_out() {
        for mode in [IsolationMode::Database, IsolationMode::Schema] {
            let spec = spec(mode);
            let provision = provision_steps(&spec, 1);
            assert_eq!(provision.last(), Some(&Step::Prove { slot: 1 }));
            assert_eq!(
                provision.contains(&Step::Database),
                mode == IsolationMode::Database
            );
            assert_eq!(
                rotate_steps(&spec, 0).last(),
                Some(&Step::Prove { slot: 0 })
            );
            assert!(!remove_steps(&spec, false).contains(&Step::DropData));
        }
    }

    #[test]
    fn a_plan_shows_every_statement_and_no_password() {
        for mode in [IsolationMode::Database, IsolationMode::Schema] {
            let spec = spec(mode);
            for step in whole_life(&spec) {
                let planned = step.planned(&spec);
                assert!(planned.target.starts_with("main/"), "{planned:?}");
                let is_proof = matches!(step, Step::Prove { .. });
                assert_eq!(planned.sql.is_empty(), is_proof, "{planned:?}");
                for statement in &planned.sql {
                    let (_, rest) = statement.split_once("PASSWORD ").unwrap_or_default();
                    assert!(
                        ["", "NULL", "'SCRAM-SHA-256$…'"].contains(&rest),
                        "{statement}"
                    );
                    // Statements of one step are sent as one text.
                    assert!(!statement.contains(';'), "{statement}");
                }
            }
        }
    }

    #[test]
    fn a_step_reads_back_from_the_registry() {
        for step in whole_life(&spec(IsolationMode::Database)) {
            let text = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
        }
        let text = serde_json::to_string(&Step::OpenLogin { slot: 1 }).unwrap();
        assert_eq!(text, r#"{"step":"open-login","slot":1}"#);
    }
}
