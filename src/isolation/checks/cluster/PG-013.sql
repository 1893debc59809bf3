-- PG-013 · A setting of a role or database sends sessions elsewhere
-- severity: high
-- peach: privilege
-- claim: What is set for a tenant's roles and databases neither names another tenant's schema or role
--   nor switches a safeguard off.
-- why: A search_path with a foreign schema in it makes an unchanged product read and write there;
--   nothing in the product shows it. session_replication_role = replica switches triggers off, the
--   audit chain of Tracer included.
-- looks: pg_db_role_setting for roles and databases in the inventory, and for everyone; of the server's
--   own configuration, row_security and session_replication_role.
-- remedy: ALTER ROLE "acme_app" RESET search_path;
, setting AS MATERIALIZED (
  SELECT row_number() OVER () AS id, r.rolname::text AS rolname, d.datname::text AS datname,
    split_part(cfg, '=', 1) AS name, substr(cfg, strpos(cfg, '=') + 1) AS value
  FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
  CROSS JOIN LATERAL unnest(s.setconfig) cfg
  WHERE (r.rolname IN (SELECT role FROM inv) OR d.datname IN (SELECT db FROM inv) OR (s.setrole = 0 AND s.setdatabase = 0))),
owner AS (
  SELECT DISTINCT s.id, i.tenant FROM setting s JOIN inv i ON i.role = s.rolname
  UNION SELECT s.id, i.tenant FROM setting s JOIN inv i ON i.db = s.datname WHERE s.rolname IS NULL),
owned AS (SELECT id, array_agg(tenant ORDER BY tenant) AS tenants FROM owner GROUP BY id),
-- Whose schema, or whose role, a setting names.
named AS (
  SELECT s.id, x.tenant FROM setting s CROSS JOIN LATERAL {names s.value} part
  JOIN schemas x ON x.sch = part.name WHERE s.name = 'search_path'
  UNION SELECT s.id, i.tenant FROM setting s JOIN inv i ON i.role = trim(both '"' FROM s.value) WHERE s.name = 'role'),
-- A path that is set for a database is that of all who share it.
foreign_to AS (
  SELECT n.id, array_agg(n.tenant ORDER BY n.tenant) AS foreigners
  FROM named n JOIN setting s ON s.id = n.id LEFT JOIN owned o ON o.id = n.id LEFT JOIN owner w ON w.id = n.id AND w.tenant = n.tenant
  WHERE w.id IS NULL OR (s.name = 'search_path' AND s.rolname IS NULL AND cardinality(o.tenants) > 1)
  GROUP BY n.id),
judged AS (
  SELECT s.*, coalesce(o.tenants, ARRAY[]::text[]) AS tenants, f.foreigners
  FROM setting s LEFT JOIN owned o ON o.id = s.id LEFT JOIN foreign_to f ON f.id = s.id)
SELECT CASE WHEN foreigners IS NOT NULL THEN 'critical' END,
  ARRAY[coalesce(rolname::text, 'PUBLIC')], coalesce(foreigners, tenants),
  coalesce('role ' || rolname, 'every role') || coalesce(' in database ' || datname, ''), name || ' = ' || value,
  CASE WHEN rolname IS NOT NULL AND datname IS NOT NULL THEN format('ALTER ROLE %I IN DATABASE %I RESET %s;', rolname, datname, name)
       WHEN rolname IS NOT NULL THEN format('ALTER ROLE %I RESET %s;', rolname, name)
       WHEN datname IS NOT NULL THEN format('ALTER DATABASE %I RESET %s;', datname, name)
       ELSE format('ALTER ROLE ALL RESET %s;', name) END
FROM judged
WHERE foreigners IS NOT NULL
   OR (name = 'row_security' AND {off value})
   OR (name = 'session_replication_role' AND lower(value) <> 'origin')
   OR (name = 'lo_compat_privileges' AND NOT {off value})
   OR name IN ('session_preload_libraries', 'local_preload_libraries')
UNION ALL
SELECT NULL, ARRAY['PUBLIC'], ARRAY['*'], 'setting ' || p.name, p.name || ' = ' || p.reset_val || ', for every session of the server',
  format(E'ALTER SYSTEM RESET %s;\nSELECT pg_reload_conf();', p.name)
FROM pg_settings p
WHERE p.source IN ('configuration file', 'command line', 'environment variable')
  AND (p.name = 'row_security' AND {off p.setting} OR p.name = 'session_replication_role' AND lower(p.setting) <> 'origin')
