//! What the catalogue says to the tenant's own session.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::Proof;
use crate::provision::ProvisionError;
use crate::provision::mark::Mark;

/// What the catalogue says to the tenant's own session.
pub(super) struct Facts {
    pub(super) database: String,
    pub(super) session_user: String,
    pub(super) current_user: String,
    pub(super) schema: Option<String>,
    pub(super) attributes: Vec<String>,
    pub(super) memberships: Vec<String>,
    pub(super) members: Vec<String>,
    pub(super) path_pinned: bool,
    pub(super) public_rights: Vec<String>,
    pub(super) database_owner: String,
    pub(super) open_to_public: Vec<String>,
    pub(super) other_is_open: bool,
    pub(super) foreign: Foreign,
}

/// What there is of the foreign tenant.
pub(super) struct Foreign {
    pub(super) database: bool,
    pub(super) schema: bool,
    pub(super) owner: bool,
    pub(super) may_enter: bool,
}

impl Proof<'_> {
    pub(super) async fn facts(&self, session: &Client) -> Result<Facts, ProvisionError> {
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
