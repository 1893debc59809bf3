-- PG-008 · A login role owns a tenant's database
-- severity: high
-- peach: privilege
-- claim: A database that holds tenants belongs to a role that nobody logs in as.
-- why: Whoever owns a database opens it to others, changes the settings of every session in it, and
--   drops it.
-- looks: pg_database.datdba. A superuser as the owner adds nothing to what it may do already.
-- remedy: ALTER DATABASE "acme" OWNER TO "databases";   -- a role with NOLOGIN
SELECT CASE WHEN EXISTS (SELECT FROM inv i WHERE i.role = r.rolname)
             AND NOT EXISTS (SELECT FROM inv i WHERE i.role = r.rolname AND i.db = d.datname) THEN 'critical' END,
  ARRAY[r.rolname::text], ARRAY(SELECT DISTINCT i.tenant FROM inv i WHERE i.db = d.datname ORDER BY 1),
  'database ' || d.datname, 'it belongs to ' || r.rolname || ', which can log in',
  format('ALTER DATABASE %I OWNER TO CURRENT_USER;  -- better: to a role with NOLOGIN', d.datname)
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
WHERE d.datname IN (SELECT db FROM inv)
  AND (r.rolcanlogin OR EXISTS (SELECT FROM inv i WHERE i.role = r.rolname))
  AND NOT r.rolsuper
