-- PG-210 · A purged tenant has left something
-- severity: high
-- peach: hygiene
-- claim: Nothing of a purged tenant is on the cluster: no database, no role, and so no grant, setting,
--   object or comment.
-- why: The customer was told that its data is gone.
-- looks: pg_database, pg_roles, pg_shdepend and pg_db_role_setting for the stores of purged tenants that
--   no other tenant has. A role that is all that is left is medium.
-- remedy: DROP DATABASE "acme" WITH (FORCE);
--   DROP ROLE "acme_app";
SELECT NULL, ARRAY[]::text[], array_agg(DISTINCT i.tenant), 'database ' || d.datname,
  'the tenant is purged, and its database is there', format('DROP DATABASE %I WITH (FORCE);', d.datname)
FROM inv i JOIN pg_database d ON d.datname = i.db
WHERE i.status = 'purged' AND i.mode = 'database' AND NOT EXISTS (SELECT FROM inv o WHERE o.db = i.db AND o.status <> 'purged')
GROUP BY d.datname
UNION ALL
SELECT CASE WHEN count(s.objid) = 0 THEN 'medium' END, ARRAY[r.rolname::text], array_agg(DISTINCT i.tenant), 'role ' || r.rolname,
  'the tenant is purged, and its role is there with ' || count(DISTINCT (s.dbid, s.classid, s.objid)) || ' objects or grants and '
    || count(DISTINCT g.setdatabase) || ' settings',
  format('DROP ROLE %I;', r.rolname)
FROM inv i JOIN pg_roles r ON r.rolname = i.role
LEFT JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
LEFT JOIN pg_db_role_setting g ON g.setrole = r.oid
WHERE i.status = 'purged' AND NOT EXISTS (SELECT FROM inv o WHERE o.role = i.role AND o.status <> 'purged')
GROUP BY r.rolname
