//! Steps that remove: data, then roles.

use tokio_postgres::types::Type;

use super::inspect::{self, Standing};
use super::{ProvisionError, Work};
use crate::provision::mark::Mark;
use crate::provision::statements as sql;

impl Work<'_> {
    pub(super) async fn drop_data(&self) -> Result<String, ProvisionError> {
        match &self.spec.names.schema {
            Some(schema) => self.drop_tenant_schema(schema).await,
            None => self.drop_tenant_database().await,
        }
    }

    async fn drop_tenant_database(&self) -> Result<String, ProvisionError> {
        let names = &self.spec.names;
        let session = self.link.maintenance().await?;
        self.link.rights(&session).await?;
        let found = inspect::database(&session, &names.database, &names.owner, 0)
            .await
            .map_err(|error| self.sql(&error))?;
        let standing = inspect::standing(found.as_ref(), &names.database, &[Mark::of(self.spec)])?;
        if standing == Standing::Missing {
            return Ok(format!("database `{}` does not exist", names.database));
        }
        session
            .batch_execute(&sql::drop_database(self.spec))
            .await
            .map_err(|error| self.sql(&error))?;
        Ok(format!("database `{}` dropped", names.database))
    }

    async fn drop_tenant_schema(&self, schema: &str) -> Result<String, ProvisionError> {
        let names = &self.spec.names;
        let maintenance = self.link.maintenance().await?;
        let rights = self.link.rights(&maintenance).await?;
        let roles = self.tenant_roles(&maintenance).await?;
        let found = inspect::database(&maintenance, &names.database, &names.owner, 0)
            .await
            .map_err(|error| self.sql(&error))?;
        drop(maintenance);
        let accepted = [true, false].map(|ready| Mark::shared_by(self.spec, ready));
        match inspect::standing(found.as_ref(), &names.database, &accepted)? {
            Standing::Marked => {}
            Standing::Missing | Standing::Unfinished | Standing::Broken => {
                return Ok(format!("database `{}` holds nothing", names.database));
            }
        }
        let session = self.link.pooled(&names.database).await?;
        let comment = session
            .query_typed_opt(
                "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1",
                &[(&schema, Type::NAME)],
            )
            .await
            .map_err(|error| self.sql(&error))?;
        let mut statements = Vec::new();
        if let Some(row) = &comment {
            Mark::of(self.spec).check(|| format!("schema `{schema}`"), row.get(0))?;
            statements.push(sql::drop_schema(schema));
        }
        let existing: Vec<&str> = (self.spec.roles().into_iter())
            .filter(|role| roles.contains_key(*role))
            .collect();
        if !existing.is_empty() {
            // Large objects and privileges are in no schema.
            statements.extend(sql::drop_owned(&names.database, &existing));
        }
        if !statements.is_empty() {
            self.execute(&session, rights, &existing, statements)
                .await?;
        }
        Ok(match comment {
            Some(_) => format!("schema `{schema}` dropped"),
            None => format!("schema `{schema}` does not exist"),
        })
    }

    pub(super) async fn drop_roles(&self) -> Result<String, ProvisionError> {
        let names = &self.spec.names;
        let session = self.link.maintenance().await?;
        let rights = self.link.rights(&session).await?;
        let roles = self.tenant_roles(&session).await?;
        let existing: Vec<&str> = (self.spec.roles().into_iter())
            .filter(|role| roles.contains_key(*role))
            .collect();
        if existing.is_empty() {
            return Ok("no role exists".into());
        }
        let oids: Vec<u32> = roles.values().map(|role| role.oid).collect();
        let footprint = inspect::footprint(&session, &oids)
            .await
            .map_err(|error| self.sql(&error))?;
        if footprint
            .iter()
            .any(|(database, _)| *database == names.database)
        {
            return Err(self.refuse(format!(
                "the roles still have data in database `{}`: drop it first",
                names.database
            )));
        }
        // What they came to own elsewhere, such as a large object in a database that `PUBLIC` may
        // connect to, or were given there by hand.
        for (database, open) in &footprint {
            if !open {
                return Err(self.refuse(format!(
                    "the roles have something in database `{database}`, which takes no connections"
                )));
            }
            let inside = self.link.inside(database).await?;
            let statements = sql::drop_owned(database, &existing);
            self.execute(&inside.session, rights, &existing, statements)
                .await?;
            inside.session.close().await;
        }
        self.execute(&session, rights, &[], vec![sql::drop_roles(&existing)])
            .await?;
        Ok(format!("{} roles dropped", existing.len()))
    }
}
