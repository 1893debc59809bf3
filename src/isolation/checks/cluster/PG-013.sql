-- PG-013 · A setting of a role or database sends sessions elsewhere
-- severity: high
-- peach: privilege
-- claim: What is set for a tenant's roles and databases neither names another tenant's schema or role
--   nor switches a safeguard off.
-- why: A search_path with a foreign schema in it makes an unchanged product read and write there;
--   nothing in the product shows it. session_replication_role = replica switches triggers off, the
--   audit chain of Tracer included.
-- looks: pg_db_role_setting for roles and databases in the inventory, and for everyone.
-- remedy: ALTER ROLE "acme_app" RESET search_path;
, setting AS (
  SELECT r.rolname, d.datname, split_part(cfg, '=', 1) AS name, substr(cfg, strpos(cfg, '=') + 1) AS value
  FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
  CROSS JOIN LATERAL unnest(s.setconfig) cfg
  WHERE (r.rolname IN (SELECT role FROM inv) OR d.datname IN (SELECT db FROM inv) OR (s.setrole = 0 AND s.setdatabase = 0))),
owner AS (
  SELECT s.*, ARRAY(SELECT DISTINCT i.tenant FROM inv i WHERE CASE WHEN s.rolname IS NOT NULL THEN i.role = s.rolname
                                                                   ELSE i.db = s.datname END) AS tenants
  FROM setting s),
judged AS (
  SELECT o.*, CASE
    WHEN o.name = 'search_path' THEN (
      SELECT array_agg(DISTINCT i.tenant) FROM inv i
      WHERE i.sch IS NOT NULL
        AND (NOT i.tenant = ANY (o.tenants) OR (o.rolname IS NULL AND cardinality(o.tenants) > 1))
        AND i.sch IN (SELECT trim(both ' "' FROM part) FROM regexp_split_to_table(o.value, ',') part))
    WHEN o.name = 'role' THEN (
      SELECT array_agg(DISTINCT i.tenant) FROM inv i
      WHERE i.role = trim(both '"' FROM o.value) AND NOT i.tenant = ANY (o.tenants)) END AS foreigners
  FROM owner o)
SELECT CASE WHEN foreigners IS NOT NULL THEN 'critical' END,
  ARRAY[coalesce(rolname::text, 'PUBLIC')], coalesce(foreigners, tenants),
  coalesce('role ' || rolname, 'every role') || coalesce(' in database ' || datname, ''), name || ' = ' || value,
  CASE WHEN rolname IS NOT NULL AND datname IS NOT NULL THEN format('ALTER ROLE %I IN DATABASE %I RESET %s;', rolname, datname, name)
       WHEN rolname IS NOT NULL THEN format('ALTER ROLE %I RESET %s;', rolname, name)
       WHEN datname IS NOT NULL THEN format('ALTER DATABASE %I RESET %s;', datname, name)
       ELSE format('ALTER ROLE ALL RESET %s;', name) END
FROM judged
WHERE foreigners IS NOT NULL
   OR (name = 'row_security' AND value IN ('off', 'false', '0'))
   OR (name = 'session_replication_role' AND value <> 'origin')
   OR (name = 'lo_compat_privileges' AND value IN ('on', 'true', '1'))
   OR name IN ('session_preload_libraries', 'local_preload_libraries')
