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
  SELECT m.member, m.roleid FROM pg_auth_members m
  UNION SELECT up.member, m.roleid FROM up JOIN pg_auth_members m ON m.member = up.role)
SELECT NULL, ARRAY[r.rolname::text], array_agg(DISTINCT i.tenant), 'role ' || r.rolname,
  'it can become roles of ' || count(DISTINCT i.tenant) || ' tenants',
  (SELECT string_agg(DISTINCT format('REVOKE %I FROM %I;', pg_get_userbyid(m.roleid), r.rolname), E'\n')
   FROM pg_auth_members m WHERE m.member = up.member)
FROM up JOIN pg_roles t ON t.oid = up.role JOIN inv i ON i.role = t.rolname
JOIN pg_roles r ON r.oid = up.member
WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolcreaterole AND r.rolname NOT IN (SELECT role FROM inv)
  AND r.rolname <> session_user
GROUP BY up.member, r.rolname HAVING count(DISTINCT i.tenant) > 1
UNION ALL
SELECT NULL, ARRAY[r.rolname::text], array_agg(DISTINCT i.tenant), 'role ' || r.rolname,
  'it may connect to the databases of ' || count(DISTINCT i.tenant) || ' tenants',
  string_agg(DISTINCT format('REVOKE ALL ON DATABASE %I FROM %I;', d.datname, r.rolname), E'\n')
FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee
JOIN inv i ON i.db = d.datname AND i.mode = 'database'
WHERE a.privilege_type = 'CONNECT' AND r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolcreaterole
  AND r.rolname NOT IN (SELECT role FROM inv) AND r.rolname <> session_user AND r.oid <> d.datdba
GROUP BY r.rolname HAVING count(DISTINCT i.tenant) > 1
