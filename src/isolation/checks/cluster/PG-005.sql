-- PG-005 · A login that is no tenant's can become several tenants
-- severity: high
-- peach: privilege
-- claim: No login outside of the inventory is a member of the roles of more than one tenant.
-- why: The forgotten "app" user, with which isolation depends on the application alone: one injected
--   statement is every tenant.
-- looks: The closure of pg_auth_members backwards from the tenants' roles, and the holders of CONNECT. Superusers and the login
--   that manages roles (CREATEROLE) are the provisioner and do not count.
-- remedy: REVOKE "acme_owner", "borealis_owner" FROM "app";
, up(member, role) AS (
  SELECT m.member, m.roleid FROM edges m
  UNION SELECT up.member, m.roleid FROM up JOIN edges m ON m.member = up.role),
-- Databases that a role of nobody in the inventory may enter, and every member of it.
enters(db, granted, role) AS (
  SELECT d.datname, a.grantee, a.grantee FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a
  WHERE a.privilege_type = 'CONNECT' AND a.grantee <> 0 AND a.grantee <> d.datdba
    AND a.grantee NOT IN (SELECT oid FROM roles) AND d.datname IN (SELECT db FROM inv WHERE mode = 'database')
  UNION SELECT e.db, e.granted, m.member FROM enters e JOIN edges m ON m.roleid = e.role),
stranger AS (
  SELECT r.oid, r.rolname::text AS name FROM pg_roles r
  WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolcreaterole AND r.rolname NOT IN (SELECT role FROM inv)
    AND r.rolname <> session_user)
SELECT NULL, ARRAY[r.name], array_agg(DISTINCT i.tenant), 'role ' || r.name,
  'it can become roles of ' || count(DISTINCT i.tenant) || ' tenants',
  (SELECT string_agg(DISTINCT {leave m.member; m.roleid}, E'\n') FROM edges m
   WHERE m.member = up.member AND (m.roleid IN (SELECT oid FROM roles)
     OR EXISTS (SELECT FROM up x WHERE x.member = m.roleid AND x.role IN (SELECT oid FROM roles))))
FROM up JOIN pg_roles t ON t.oid = up.role JOIN inv i ON i.role = t.rolname JOIN stranger r ON r.oid = up.member
GROUP BY up.member, r.name HAVING count(DISTINCT i.tenant) > 1
UNION ALL
SELECT NULL, ARRAY[r.name], array_agg(DISTINCT i.tenant), 'role ' || r.name,
  'it may connect to the databases of ' || count(DISTINCT i.tenant) || ' tenants',
  string_agg(DISTINCT CASE WHEN e.granted = r.oid
    THEN (SELECT string_agg(DISTINCT {revoke ALL ON DATABASE %I; a; d.datdba; d.datname}, E'\n')
          FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a WHERE d.datname = e.db AND a.grantee = r.oid)
    ELSE (SELECT string_agg(DISTINCT {leave m.member; m.roleid}, E'\n') FROM edges m
          WHERE m.member = r.oid AND (m.roleid = e.granted
            OR EXISTS (SELECT FROM up WHERE up.member = m.roleid AND up.role = e.granted))) END, E'\n')
FROM enters e JOIN stranger r ON r.oid = e.role JOIN inv i ON i.db = e.db AND i.mode = 'database'
GROUP BY r.name HAVING count(DISTINCT i.tenant) > 1
UNION ALL
SELECT NULL, ARRAY[r.name], ARRAY['*'], 'role ' || r.name,
  'it has ' || string_agg(DISTINCT t.rolname, ', ' ORDER BY t.rolname) || ', and so every tenant''s data',
  string_agg(DISTINCT (SELECT string_agg(DISTINCT {leave m.member; m.roleid}, E'\n') FROM edges m
    WHERE m.member = r.oid AND (m.roleid = t.oid
      OR EXISTS (SELECT FROM up x WHERE x.member = m.roleid AND x.role = t.oid))), E'\n')
FROM up JOIN pg_roles t ON t.oid = up.role JOIN stranger r ON r.oid = up.member
WHERE t.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
GROUP BY r.name
