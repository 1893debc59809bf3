//! Steps of a rotation: open one login, close the other.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::link::Rights;
use super::{ProvisionError, Work, inspect};
use crate::provision::plan::Slot;
use crate::provision::sql::script;
use crate::provision::statements as sql;

/// How long sessions have to end after they were told to.
const SESSIONS_END_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks. A session that was let in just before its role was closed shows in this
/// time.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Work<'_> {
    pub(super) async fn open_login(
        &self,
        slot: Slot,
        verifier: &str,
    ) -> Result<String, ProvisionError> {
        let session = self.link.maintenance().await?;
        let rights = self.link.rights(&session).await?;
        let roles = self.tenant_roles(&session).await?;
        let (login, other) = (self.spec.login(slot), self.spec.login(slot ^ 1));
        for name in self.spec.roles() {
            if !roles.contains_key(name) {
                return Err(self.refuse(format!("role `{name}` does not exist: provision first")));
            }
        }
        // A product that gave up its role on purpose (`SET ROLE NONE`) may have made objects that
        // only the other login can use.
        let moved = self
            .move_leftovers(&session, rights, other, roles[other].oid, false)
            .await?;
        let mut statements = roles[login].repair(login);
        statements.push(sql::alter_login(self.spec, slot, Some(verifier)));
        statements.extend(sql::login_settings(self.spec, slot));
        statements.push(sql::grant_owner(self.spec));
        self.execute(&session, rights, &[], statements).await?;
        Ok(format!("`{login}` is open{moved}"))
    }

    pub(super) async fn close_login(&self, slot: Slot) -> Result<String, ProvisionError> {
        let session = self.link.maintenance().await?;
        let rights = self.link.rights(&session).await?;
        let roles = self.tenant_roles(&session).await?;
        let (login, other) = (self.spec.login(slot), self.spec.login(slot ^ 1));
        let Some(role) = roles.get(login) else {
            return Ok(format!("`{login}` does not exist"));
        };
        let other_is_open = roles.get(other).is_some_and(|role| role.can_login);
        if role.can_login && !other_is_open {
            return Err(self.refuse(format!(
                "`{other}` cannot log in, so closing `{login}` would leave the tenant without any login"
            )));
        }
        self.execute(&session, rights, &[], vec![sql::close_login(login)])
            .await?;
        let ended = self.end_sessions(&session, rights, &[login]).await?;
        let moved = self
            .move_leftovers(&session, rights, login, role.oid, true)
            .await?;
        Ok(format!(
            "`{login}` is closed, {ended} sessions ended{moved}"
        ))
    }

    pub(super) async fn close_all(&self) -> Result<String, ProvisionError> {
        let session = self.link.maintenance().await?;
        let rights = self.link.rights(&session).await?;
        let roles = self.tenant_roles(&session).await?;
        let logins: Vec<&str> = (self.spec.names.logins.iter().map(String::as_str))
            .filter(|login| roles.contains_key(*login))
            .collect();
        if logins.is_empty() {
            return Ok("no login exists".into());
        }
        let statements = logins.iter().map(|login| sql::close_login(login)).collect();
        self.execute(&session, rights, &[], statements).await?;
        let ended = self.end_sessions(&session, rights, &logins).await?;
        Ok(format!(
            "{} logins closed, {ended} sessions ended",
            logins.len()
        ))
    }

    /// Ends every session of roles that can no longer log in, and waits until none is left.
    async fn end_sessions(
        &self,
        session: &Client,
        rights: Rights,
        roles: &[&str],
    ) -> Result<usize, ProvisionError> {
        let started = Instant::now();
        let mut seen = HashSet::new();
        let mut quiet = 0;
        loop {
            let rows = session
                .query_typed(
                    "SELECT pid FROM pg_stat_activity WHERE usename = ANY($1)",
                    &[(&roles, Type::NAME_ARRAY)],
                )
                .await
                .map_err(|error| self.sql(&error))?;
            if rows.is_empty() {
                quiet += 1;
                if quiet == 2 {
                    return Ok(seen.len());
                }
            } else {
                quiet = 0;
                seen.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
                let mut statements = vec![sql::end_sessions(roles)];
                if !rights.superuser {
                    statements = sql::as_members(roles, statements);
                }
                let _: Vec<SimpleQueryMessage> = session
                    .simple_query(&script(&statements))
                    .await
                    .map_err(|error| self.sql(&error))?;
            }
            if started.elapsed() > SESSIONS_END_WITHIN {
                return Err(ProvisionError::Sql {
                    action: self.action.clone(),
                    reason: format!("{} sessions do not end", rows.len()),
                    transient: true,
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Hands what a login owns to the owner, in whatever database; for good when it is `retired`.
    async fn move_leftovers(
        &self,
        session: &Client,
        rights: Rights,
        login: &str,
        oid: u32,
        retired: bool,
    ) -> Result<String, ProvisionError> {
        let databases = inspect::footprint(session, &[oid])
            .await
            .map_err(|error| self.sql(&error))?;
        let mut moved = Vec::new();
        for (database, open) in databases {
            if !open {
                continue;
            }
            let inside = self.link.inside(&database).await?;
            let mut statements = vec![sql::hand_over(self.spec, login)];
            if retired {
                // What is left after that are privileges.
                statements.extend(sql::drop_owned(&database, &[login]));
            }
            let roles = [login, self.spec.names.owner.as_str()];
            self.execute(&inside.session, rights, &roles, statements)
                .await?;
            inside.session.close().await;
            moved.push(format!("`{database}`"));
        }
        if moved.is_empty() {
            return Ok(String::new());
        }
        Ok(format!(
            ", what `{login}` owned in {} belongs to the owner role",
            moved.join(", ")
        ))
    }
}
