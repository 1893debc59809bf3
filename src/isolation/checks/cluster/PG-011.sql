-- PG-011 · A tenant's database is a template, or was dropped half-way
-- severity: high
-- peach: privilege
-- claim: No database that holds tenants is marked as a template or invalid.
-- why: A template is copied by everyone with CREATEDB, without CONNECT on it (tried): the copy and all
--   rows in it then belong to the one who copied.
-- looks: datistemplate, and datconnlimit -2, which is what an interrupted DROP DATABASE leaves.
-- remedy: ALTER DATABASE "acme" IS_TEMPLATE false;
SELECT CASE WHEN d.datistemplate AND EXISTS (SELECT FROM inv i JOIN pg_roles r ON r.rolname = i.role WHERE r.rolcreatedb)
            THEN 'critical' END,
  ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.rolcreatedb AND NOT r.rolsuper ORDER BY 1 LIMIT 20),
  ARRAY(SELECT DISTINCT i.tenant FROM inv i WHERE i.db = d.datname ORDER BY 1), 'database ' || d.datname,
  CASE WHEN d.datistemplate THEN 'it is marked as a template' ELSE 'DROP DATABASE was interrupted (connection limit -2)' END,
  CASE WHEN d.datistemplate THEN format('ALTER DATABASE %I IS_TEMPLATE false;', d.datname)
       ELSE format('DROP DATABASE %I;', d.datname) END
FROM pg_database d
WHERE (d.datistemplate OR d.datconnlimit = -2) AND d.datname IN (SELECT db FROM inv)
