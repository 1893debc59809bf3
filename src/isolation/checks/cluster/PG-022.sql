-- PG-022 · A tenant may change a protected setting
-- severity: high
-- since: 150000
-- peach: privilege
-- claim: No right on a setting was granted to a tenant's role or to PUBLIC.
-- why: session_replication_role switches triggers off, Tracer's audit chain included; others load
--   libraries or hide damage.
-- looks: pg_parameter_acl, since PostgreSQL 15.
-- remedy: REVOKE ALL ON PARAMETER session_replication_role FROM "acme_app";
SELECT NULL, ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END],
  CASE WHEN a.grantee = 0 THEN ARRAY['*'] ELSE ARRAY(SELECT DISTINCT x.tenant FROM able x WHERE x.oid = a.grantee ORDER BY 1) END, 'setting ' || p.parname,
  a.privilege_type || ' is granted',
  -- Settings belong to the first superuser.
  {revoke ALL ON PARAMETER %I; a; 10::oid; p.parname}
FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) a
WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM able)
