-- PG-101 · A tenant's schema is open to others, or a shared schema is writable
-- severity: critical
-- peach: privilege
-- mode: schema
-- claim: Only the tenant's own roles have rights on its schema, and no tenant may create in a schema
--   that it shares with others.
-- why: USAGE on a schema is what keeps two tenants of one database apart. In a shared schema that is
--   writable, one tenant plants a function that the others call (CVE-2018-1058); clusters made before
--   PostgreSQL 15 keep CREATE on public for PUBLIC through every upgrade.
-- looks: pg_namespace.nspacl and owners, against the tenant of each schema.
-- remedy: REVOKE ALL ON SCHEMA "borealis" FROM "acme_app";
SELECT CASE WHEN t.tenant IS NULL THEN 'high' WHEN a.privilege_type IS NULL THEN 'critical' END,
  ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END],
  ARRAY[coalesce(t.tenant, '*')], 'schema ' || n.nspname || ' of database ' || current_database(),
  string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) || ' is granted to '
    || CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END,
  -- What several share they go on using.
  format(E'\\connect %I\n', current_database())
    || string_agg(DISTINCT {revoke %s ON SCHEMA %I; a; n.nspowner; CASE WHEN t.tenant IS NULL THEN 'CREATE' ELSE 'ALL' END; n.nspname}, E'\n')
FROM pg_namespace n
CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
LEFT JOIN schemas t ON t.sch = n.nspname
LEFT JOIN mine own ON own.tenant = t.tenant AND own.oid = a.grantee
LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE a.grantee <> n.nspowner AND NOT coalesce(g.rolsuper, false)
  AND (t.tenant IS NOT NULL AND own.oid IS NULL
    OR t.tenant IS NULL AND a.privilege_type = 'CREATE' AND n.nspname NOT LIKE 'pg\_%'
       AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able)))
GROUP BY n.nspname, t.tenant, a.grantee, (a.privilege_type IS NULL)
UNION ALL
SELECT 'critical', ARRAY[o.rolname::text], ARRAY[t.tenant], 'schema ' || n.nspname || ' of database ' || current_database(),
  'it belongs to ' || o.rolname || ', which is in reach of ' || (SELECT string_agg(DISTINCT tenant, ', ') FROM able WHERE able.oid = o.oid AND able.tenant <> t.tenant),
  format(E'\\connect %I\nALTER SCHEMA %I OWNER TO CURRENT_USER;', current_database(), n.nspname)
FROM pg_namespace n JOIN schemas t ON t.sch = n.nspname JOIN pg_roles o ON o.oid = n.nspowner
WHERE o.oid IN (SELECT oid FROM able WHERE able.tenant <> t.tenant) AND o.oid NOT IN (SELECT oid FROM mine WHERE mine.tenant = t.tenant)
