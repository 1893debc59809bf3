-- PG-004 · A tenant's role is a member of a role that it must not be
-- severity: critical
-- peach: privilege
-- claim: The memberships of a tenant's role, followed to their end, lead neither to another tenant's
--   role, nor to a superuser, nor to one of the predefined roles of the system.
-- why: A membership is every right of the other role at once, also those granted later. SET ROLE
--   makes it complete even where nothing is inherited.
-- looks: The closure of pg_auth_members from every role in the inventory. A group of the tenant's own
--   is fine. pg_read_all_data, pg_monitor, pg_signal_backend and the like, and the providers'
--   administrator roles, are not.
-- remedy: REVOKE "borealis_owner" FROM "acme_app";
--   Since PostgreSQL 16 each grant of it is taken back by itself, as that of who granted it:
--   REVOKE "borealis_owner" FROM "acme_app" GRANTED BY "postgres";
, reach(tenant, start, role, path) AS (
  SELECT DISTINCT i.tenant, r.rolname::text, r.oid, ARRAY[r.rolname::text] FROM inv i JOIN pg_roles r ON r.rolname = i.role
  UNION ALL
  -- One way to each membership is enough: all of them would be too many where groups are in groups.
  SELECT DISTINCT ON (reach.tenant, reach.start, reach.role, m.roleid) reach.tenant, reach.start, m.roleid, reach.path || r.rolname::text
  FROM reach JOIN edges m ON m.member = reach.role JOIN pg_roles r ON r.oid = m.roleid
  WHERE r.rolname <> ALL (reach.path)),
owners AS (SELECT role, array_agg(DISTINCT tenant) AS tenants FROM inv GROUP BY role)
SELECT CASE WHEN o.tenants IS NULL AND NOT (q.rolsuper OR q.rolcreaterole)
                 AND q.rolname NOT IN ('pg_read_all_data', 'pg_write_all_data', 'pg_execute_server_program',
                                       'pg_read_server_files', 'pg_write_server_files')
            THEN 'high' END,
  array_agg(DISTINCT reach.start), coalesce(o.tenants, ARRAY['*']),
  'role ' || q.rolname, min(array_to_string(reach.path, ' -> ')),
  string_agg(DISTINCT {leave to_regrole(quote_ident(reach.path[cut.at])); to_regrole(quote_ident(reach.path[cut.at + 1]))}, E'\n')
FROM reach JOIN pg_roles q ON q.oid = reach.role LEFT JOIN owners o ON o.role = q.rolname
-- What the roles of other tenants are members of is theirs: the path is cut before it comes to them.
CROSS JOIN LATERAL (
  SELECT max(at) AS at FROM generate_subscripts(reach.path, 1) at
  WHERE at < cardinality(reach.path)
    AND NOT EXISTS (SELECT FROM owners w WHERE w.role = reach.path[at] AND reach.tenant <> ALL (w.tenants))) cut
WHERE cardinality(reach.path) > 1
  AND (o.tenants IS NOT NULL AND NOT reach.tenant = ANY (o.tenants)
    OR q.rolsuper OR q.rolcreaterole OR q.rolreplication OR q.rolbypassrls OR q.rolcreatedb
    OR q.rolname ~ '^pg_' OR q.rolname IN ('rds_superuser', 'rds_replication', 'cloudsqlsuperuser', 'azure_pg_admin'))
GROUP BY q.rolname, q.rolsuper, q.rolcreaterole, o.tenants
