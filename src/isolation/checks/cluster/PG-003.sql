-- PG-003 · A tenant's role has an attribute that outranks every grant
-- severity: critical
-- peach: privilege
-- claim: No role of a tenant is SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS.
-- why: A superuser passes every check. Up to PostgreSQL 15 a CREATEROLE login grants itself another
--   tenant's role and resets its password (tried). REPLICATION reads the write-ahead log of the
--   whole cluster, CREATEDB clones every database that is marked as a template.
-- looks: rolsuper, rolcreaterole, rolcreatedb, rolreplication and rolbypassrls of every role in the
--   inventory.
-- remedy: ALTER ROLE "acme_app" NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;
SELECT CASE WHEN r.rolsuper OR r.rolbypassrls THEN 'critical'
            WHEN r.rolcreaterole AND current_setting('server_version_num')::int < 160000 THEN 'critical'
            ELSE 'high' END,
  ARRAY[r.rolname::text],
  CASE WHEN r.rolsuper OR r.rolcreaterole OR r.rolreplication THEN ARRAY['*']
       ELSE array_agg(DISTINCT i.tenant) END,
  'role ' || r.rolname, 'it is ' || x.attributes,
  format('ALTER ROLE %I %s;', r.rolname, x.remedy)
FROM (SELECT DISTINCT tenant, role FROM inv) i
JOIN pg_roles r ON r.rolname = i.role
CROSS JOIN LATERAL (
  SELECT string_agg(word, ', ') AS attributes, string_agg('NO' || word, ' ') AS remedy
  FROM (VALUES (r.rolsuper, 'SUPERUSER'), (r.rolcreaterole, 'CREATEROLE'), (r.rolcreatedb, 'CREATEDB'),
               (r.rolreplication, 'REPLICATION'), (r.rolbypassrls, 'BYPASSRLS')) AS v(has, word)
  WHERE has) x
WHERE r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
GROUP BY r.rolname, r.rolsuper, r.rolcreaterole, r.rolreplication, r.rolbypassrls, x.attributes, x.remedy
