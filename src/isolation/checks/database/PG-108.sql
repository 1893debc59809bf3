-- PG-108 · A schema on a tenant's search path is another's
-- severity: critical
-- peach: privilege
-- mode: schema
-- claim: Every schema on a tenant's search path exists, is its own or the system's, and no other tenant
--   may create in it.
-- why: The first schema on the path decides where unqualified names lead. A foreign schema there makes
--   an unchanged product read another tenant's rows; a misspelt one falls through to the next, where
--   writes then land (tried).
-- looks: The path as PostgreSQL puts it together: set for the role in this database, for the role, for
--   the database; what the product's connection asks for is the schema of the inventory.
-- remedy: ALTER ROLE "acme_app" IN DATABASE "shared" SET search_path = "acme";
, path AS (
  SELECT i.tenant, i.role, i.sch AS own, coalesce(cfg.value, quote_ident(i.sch)) AS value
  FROM (SELECT DISTINCT tenant, role, sch FROM inv WHERE login AND sch IS NOT NULL) i
  LEFT JOIN LATERAL (
    SELECT substr(c, 13) AS value FROM pg_db_role_setting s JOIN pg_roles r ON r.rolname = i.role
    LEFT JOIN pg_database d ON d.datname = current_database()
    CROSS JOIN LATERAL unnest(s.setconfig) c
    WHERE c LIKE 'search_path=%' AND ((s.setrole = r.oid AND s.setdatabase IN (0, d.oid)) OR (s.setrole = 0 AND s.setdatabase IN (0, d.oid)))
    ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1) cfg ON true),
part AS (
  SELECT p.tenant, p.role, p.own, p.value, x.at,
    CASE WHEN x.name = '$user' THEN p.role ELSE x.name END AS name
  FROM path p CROSS JOIN LATERAL {names p.value} x),
writers AS (
  SELECT n.nspname, n.nspowner, a.grantor, a.grantee FROM pg_namespace n
  CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
  WHERE a.privilege_type = 'CREATE' AND n.nspname IN (SELECT name FROM part))
SELECT NULL, ARRAY[p.role], ARRAY[f.tenant], 'search path of ' || p.role || ' in database ' || current_database(),
  p.value || ': ' || p.name || ' is the schema of tenant ' || f.tenant,
  format('ALTER ROLE %I IN DATABASE %I SET search_path = %I;', p.role, current_database(), p.own)
FROM part p JOIN schemas f ON f.sch = p.name AND f.tenant <> p.tenant
UNION ALL
SELECT NULL, array_agg(DISTINCT CASE WHEN w.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(w.grantee)::text END), ARRAY[p.tenant],
  'search path of ' || p.role || ' in database ' || current_database(), p.value || ': others may create in ' || p.name,
  format(E'\\connect %I\n', current_database())
    || string_agg(DISTINCT CASE WHEN w.grantee = w.nspowner THEN format('ALTER SCHEMA %I OWNER TO CURRENT_USER;', p.name)
                                ELSE {revoke CREATE ON SCHEMA %I; w; w.nspowner; p.name} END, E'\n')
FROM part p JOIN writers w ON w.nspname = p.name
LEFT JOIN mine ON mine.oid = w.grantee AND mine.tenant = p.tenant
WHERE mine.oid IS NULL AND (w.grantee = 0 OR w.grantee IN (SELECT oid FROM able)) AND (SELECT count(DISTINCT tenant) FROM inv) > 1
GROUP BY p.tenant, p.role, p.value, p.name
UNION ALL
SELECT 'high', ARRAY[p.role], ARRAY[p.tenant], 'search path of ' || p.role || ' in database ' || current_database(),
  p.value || ': there is no schema ' || p.name,
  format('ALTER ROLE %I IN DATABASE %I SET search_path = %I;', p.role, current_database(), p.own)
FROM part p WHERE p.at = 1 AND p.name <> '' AND p.name NOT IN (SELECT nspname FROM pg_namespace) AND p.name <> p.role
