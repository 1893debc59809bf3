//! Steps that make: the cluster's own role, shared databases, a tenant's roles, database, schema.

use std::collections::HashMap;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::inspect::{self, Role, Standing};
use super::link::Rights;
use super::{ProvisionError, Work};
use crate::provision::mark::Mark;
use crate::provision::naming::DATABASES_ROLE;
use crate::provision::plan::Slot;
use crate::provision::sql::script;
use crate::provision::statements as sql;

impl Work<'_> {
    /// Runs statements as one transaction, as a member of `roles` where our role is no superuser.
    pub(super) async fn execute(
        &self,
        session: &Client,
        rights: Rights,
        roles: &[&str],
        statements: Vec<String>,
    ) -> Result<(), ProvisionError> {
        let statements = if rights.superuser || roles.is_empty() {
            statements
        } else {
            sql::as_members(roles, statements)
        };
        session
            .batch_execute(&script(&statements))
            .await
            .map_err(|error| self.sql(&error))
    }

    pub(super) fn check_role(&self, name: &str, role: &Role) -> Result<(), ProvisionError> {
        Mark::of(self.spec).check(|| format!("role `{name}`"), role.mark.as_deref())
    }

    /// Returns those of the tenant's roles that exist, all of them with its mark.
    pub(super) async fn tenant_roles(
        &self,
        session: &Client,
    ) -> Result<HashMap<String, Role>, ProvisionError> {
        let roles = inspect::roles(session, &self.spec.roles())
            .await
            .map_err(|error| self.sql(&error))?;
        for (name, role) in &roles {
            self.check_role(name, role)?;
        }
        Ok(roles)
    }

    pub(super) async fn prepare(&self) -> Result<String, ProvisionError> {
        let session = self.link.maintenance().await?;
        let rights = self.link.rights(&session).await?;
        let mut detail = self.databases_role(&session, rights).await?;
        if self.spec.names.schema.is_some() {
            detail.push_str("; ");
            detail.push_str(&self.shared_database(&session, rights).await?);
        }
        Ok(detail)
    }

    async fn databases_role(
        &self,
        session: &Client,
        rights: Rights,
    ) -> Result<String, ProvisionError> {
        let roles = inspect::roles(session, &[DATABASES_ROLE])
            .await
            .map_err(|error| self.sql(&error))?;
        let join = format!("GRANT {DATABASES_ROLE} TO CURRENT_USER");
        let (statements, detail) = match roles.get(DATABASES_ROLE) {
            None => {
                let mut statements = sql::create_databases_role();
                if !rights.superuser {
                    statements.push(join);
                }
                (statements, "made")
            }
            Some(role) => {
                Mark::Cluster.check(|| format!("role `{DATABASES_ROLE}`"), role.mark.as_deref())?;
                let mut statements = Vec::new();
                if role.can_login || !role.excess.is_empty() {
                    statements = role.repair(DATABASES_ROLE);
                    statements.push(sql::close_login(DATABASES_ROLE));
                }
                if !role.usable {
                    statements.push(join);
                }
                (statements, "there")
            }
        };
        if !statements.is_empty() {
            self.execute(session, rights, &[], statements).await?;
        }
        Ok(format!("role `{DATABASES_ROLE}` {detail}"))
    }

    async fn shared_database(
        &self,
        session: &Client,
        rights: Rights,
    ) -> Result<String, ProvisionError> {
        let name = &self.spec.names.database;
        let ready = Mark::shared_by(self.spec, true);
        let found = inspect::database(session, name, &self.spec.names.owner, 0)
            .await
            .map_err(|error| self.sql(&error))?;
        let accepted = [ready.clone(), Mark::shared_by(self.spec, false)];
        let mut statements = Vec::new();
        match inspect::standing(found.as_ref(), name, &accepted)? {
            Standing::Broken => {
                return Err(self.refuse(format!(
                    "dropping the shared database `{name}` was interrupted: drop it by hand"
                )));
            }
            Standing::Marked => {
                let found = found.expect("a database that is marked was found");
                let is_ready = found.mark.as_deref().and_then(Mark::parse) == Some(ready);
                if is_ready && found.ours && found.closed {
                    return Ok(format!("shared database `{name}` there"));
                }
                if !found.ours {
                    statements.push(sql::take_database(self.spec));
                }
            }
            Standing::Unfinished => {}
            Standing::Missing => self.create_database(session).await?,
        }
        statements.extend(sql::settle_shared_database(self.spec));
        self.execute(session, rights, &[], statements).await?;
        // Nobody has CONNECT yet, so nobody was ever let in before this is done.
        let inside = self.link.pooled(name).await?;
        let mut statements = vec![sql::lock_privileges(name)];
        statements.extend(sql::close_shared_public(self.spec));
        self.execute(&inside, rights, &[], statements).await?;
        Ok(format!("shared database `{name}` made"))
    }

    async fn create_database(&self, session: &Client) -> Result<(), ProvisionError> {
        session
            .batch_execute(&sql::create_database(self.spec))
            .await
            .map_err(|error| self.sql(&error))
    }

    pub(super) async fn roles(&self, open: Slot, verifier: &str) -> Result<String, ProvisionError> {
        let session = self.link.maintenance().await?;
        let rights = self.link.rights(&session).await?;
        let roles = self.tenant_roles(&session).await?;
        let mut statements = match roles.get(&self.spec.names.owner) {
            None => sql::create_owner(self.spec),
            Some(role) => {
                let owner = &self.spec.names.owner;
                let mut statements = role.repair(owner);
                if role.can_login {
                    statements.push(sql::close_login(owner));
                }
                statements
            }
        };
        for slot in [0, 1] {
            let login = self.spec.login(slot);
            let verifier = (slot == open % 2).then_some(verifier);
            match roles.get(login) {
                None => statements.extend(sql::create_login(self.spec, slot, verifier)),
                Some(role) => {
                    statements.extend(role.repair(login));
                    statements.push(sql::alter_login(self.spec, slot, verifier));
                }
            }
            statements.extend(sql::login_settings(self.spec, slot));
        }
        statements.push(sql::grant_owner(self.spec));
        if !roles.is_empty() && self.spec.names.schema.is_none() {
            statements.extend(self.database_limit(&session).await?);
        }
        self.execute(&session, rights, &[], statements).await?;
        Ok(format!(
            "{} roles made, {} there; `{}` is open",
            3 - roles.len(),
            roles.len(),
            self.spec.login(open)
        ))
    }

    /// Keeps the limit of a database that exists in step with those of its roles.
    async fn database_limit(&self, session: &Client) -> Result<Option<String>, ProvisionError> {
        let names = &self.spec.names;
        let wanted = sql::database_limit(self.spec);
        let found = inspect::database(session, &names.database, &names.owner, wanted)
            .await
            .map_err(|error| self.sql(&error))?;
        let marked = found.filter(|found| {
            let standing = inspect::standing(Some(found), &names.database, &[Mark::of(self.spec)]);
            matches!(standing, Ok(Standing::Marked))
        });
        let differs = marked.is_some_and(|found| u32::try_from(found.limit) != Ok(wanted));
        Ok(differs.then(|| sql::limit_database(self.spec)))
    }

    pub(super) async fn database(&self) -> Result<String, ProvisionError> {
        let names = &self.spec.names;
        let session = self.link.maintenance().await?;
        let rights = self.link.rights(&session).await?;
        let limit = sql::database_limit(self.spec);
        let found = inspect::database(&session, &names.database, &names.owner, limit)
            .await
            .map_err(|error| self.sql(&error))?;
        let mark = Mark::of(self.spec);
        let mut detail = "there";
        let mut statements = Vec::new();
        match inspect::standing(found.as_ref(), &names.database, &[mark])? {
            Standing::Marked => {
                let found = found.expect("a database that is marked was found");
                if found.ours && found.settled {
                    return Ok(format!("database `{}` there", names.database));
                }
                if !found.ours {
                    statements.push(sql::take_database(self.spec));
                }
            }
            Standing::Unfinished => detail = "finished",
            Standing::Broken => {
                detail = "made in place of one that was half dropped";
                session
                    .batch_execute(&sql::drop_database(self.spec))
                    .await
                    .map_err(|error| self.sql(&error))?;
                self.create_database(&session).await?;
            }
            Standing::Missing => {
                detail = "made";
                self.create_database(&session).await?;
            }
        }
        statements.extend(sql::settle_database(self.spec));
        self.execute(&session, rights, &[], statements).await?;
        Ok(format!("database `{}` {detail}", names.database))
    }

    pub(super) async fn schema(&self) -> Result<String, ProvisionError> {
        match &self.spec.names.schema {
            Some(schema) => self.tenant_schema(schema).await,
            None => self.public_schema().await,
        }
    }

    /// Gives the schema `public` of the tenant's own database to its owner role.
    async fn public_schema(&self) -> Result<String, ProvisionError> {
        let names = &self.spec.names;
        let inside = self.link.inside(&names.database).await?;
        let session = &inside.session;
        let rights = self.link.rights(session).await?;
        let row = session
            .query_typed_one(
                "SELECT shobj_description(d.oid, 'pg_database'), \
                   shobj_description(r.oid, 'pg_authid'), \
                   n.oid IS NOT NULL, \
                   n.nspowner = r.oid \
                     AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0) \
                     AND (SELECT count(*) FROM pg_default_acl a WHERE a.defaclrole = r.oid \
                          AND a.defaclnamespace = 0 AND a.defaclobjtype IN ('f', 'T')) = 2 \
                 FROM pg_database d LEFT JOIN pg_roles r ON r.rolname = $1 \
                 LEFT JOIN pg_namespace n ON n.nspname = 'public' \
                 WHERE d.datname = current_database()",
                &[(&names.owner, Type::NAME)],
            )
            .await
            .map_err(|error| self.sql(&error))?;
        let mark = Mark::of(self.spec);
        mark.check(|| format!("database `{}`", names.database), row.get(0))?;
        mark.check(|| format!("role `{}`", names.owner), row.get(1))?;
        if row.get::<_, Option<bool>>(3) == Some(true) {
            return Ok("schema `public` there".into());
        }
        let statements = sql::settle_public(self.spec, row.get(2));
        self.execute(session, rights, &[&names.owner], statements)
            .await?;
        Ok(format!("schema `public` belongs to `{}`", names.owner))
    }

    /// Makes the tenant's schema in the shared database, and lets the tenant in.
    async fn tenant_schema(&self, schema: &str) -> Result<String, ProvisionError> {
        let names = &self.spec.names;
        let session = self.link.pooled(&names.database).await?;
        let rights = self.link.rights(&session).await?;
        let row = session
            .query_typed_one(
                "SELECT shobj_description(d.oid, 'pg_database'), \
                   shobj_description(r.oid, 'pg_authid'), \
                   n.oid IS NOT NULL, obj_description(n.oid, 'pg_namespace'), \
                   n.nspowner = r.oid, \
                   EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0), \
                   EXISTS (SELECT FROM aclexplode(d.datacl) a \
                           WHERE a.grantee = r.oid AND a.privilege_type = 'CONNECT'), \
                   (SELECT count(*) FROM pg_default_acl a WHERE a.defaclrole = r.oid \
                     AND a.defaclnamespace = 0 AND a.defaclobjtype IN ('f', 'T')) = 2 \
                 FROM pg_database d LEFT JOIN pg_roles r ON r.rolname = $1 \
                 LEFT JOIN pg_namespace n ON n.nspname = $2 \
                 WHERE d.datname = current_database()",
                &[(&names.owner, Type::NAME), (&schema, Type::NAME)],
            )
            .await
            .map_err(|error| self.sql(&error))?;
        let mark = Mark::of(self.spec);
        let shared: Option<&str> = row.get(0);
        if !matches!(shared.and_then(Mark::parse), Some(Mark::Shared { .. })) {
            return Err(Mark::foreign(
                format!("database `{}`", names.database),
                shared,
            ));
        }
        mark.check(|| format!("role `{}`", names.owner), row.get(1))?;
        let exists: bool = row.get(2);
        let mut statements = Vec::new();
        if exists {
            mark.check(|| format!("schema `{schema}`"), row.get(3))?;
            if row.get::<_, Option<bool>>(4) != Some(true) || row.get(5) {
                statements.extend(sql::alter_schema(self.spec, schema));
            }
        } else {
            statements.extend(sql::create_schema(self.spec, schema));
        }
        if !row.get::<_, bool>(7) {
            statements.extend(sql::default_privileges(self.spec));
        }
        if !row.get::<_, bool>(6) {
            statements.extend(sql::join_shared_database(self.spec));
        }
        if statements.is_empty() {
            return Ok(format!("schema `{schema}` there"));
        }
        self.execute(&session, rights, &[&names.owner], statements)
            .await?;
        Ok(format!(
            "schema `{schema}` {}",
            if exists { "repaired" } else { "made" }
        ))
    }
}
