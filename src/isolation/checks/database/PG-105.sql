-- PG-105 · A routine runs with more rights than its caller and can be hijacked
-- severity: high
-- peach: privilege
-- claim: No SECURITY DEFINER routine that a tenant may run belongs to a role that outranks it, or leaves
--   its search path to the caller.
-- why: The caller puts a table or an operator of the same name on the path, and the owner runs it.
--   Through an owner that outranks the tenant, that is every tenant (compare CVE-2025-12819, where a
--   pooler's query was hijacked so).
-- looks: pg_proc.prosecdef outside of extensions: who owns it, who may run it, and whether its
--   search_path is pinned.
-- remedy: ALTER ROUTINE "public"."f"() SET search_path = pg_catalog, pg_temp;
--   REVOKE EXECUTE ON ROUTINE "public"."f"() FROM PUBLIC;
SELECT CASE WHEN o.rolsuper OR o.rolbypassrls OR o.rolcreaterole THEN 'critical' END,
  CASE WHEN bool_or(a.grantee = 0) THEN ARRAY['PUBLIC'] ELSE array_agg(DISTINCT pg_get_userbyid(a.grantee)::text) END,
  coalesce((SELECT array_agg(DISTINCT tenant) FROM mine WHERE mine.oid = o.oid), ARRAY['*']),
  'routine ' || p.oid::regprocedure::text || ' of database ' || current_database(),
  'runs as ' || o.rolname || ', search_path ' || coalesce(substr(path.setting, 13), 'left to the caller'),
  format(E'\\connect %I\nALTER ROUTINE %s SET search_path = pg_catalog, pg_temp;\n', current_database(), p.oid::regprocedure)
    || string_agg(DISTINCT {revoke EXECUTE ON ROUTINE %s; a; p.proowner; p.oid::regprocedure}, E'\n')
FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN LATERAL (SELECT c AS setting FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%' LIMIT 1) path ON true
CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.prosecdef AND p.oid >= 16384 AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
  AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
  AND (o.oid NOT IN (SELECT oid FROM mine)
    OR (SELECT count(DISTINCT tenant) FROM inv) > 1 AND (
         path.setting IS NULL OR path.setting !~ 'pg_temp"?\s*$'
         -- Another tenant may call it by name, so that it acts as its owner for a stranger.
      OR EXISTS (
           SELECT FROM able x CROSS JOIN LATERAL aclexplode(n.nspacl) u
           WHERE x.tenant NOT IN (SELECT tenant FROM mine WHERE mine.oid = o.oid)
             AND (a.grantee = 0 OR a.grantee = x.oid) AND u.privilege_type = 'USAGE' AND (u.grantee = 0 OR u.grantee = x.oid))))
GROUP BY p.oid, o.oid, o.rolname, o.rolsuper, o.rolbypassrls, o.rolcreaterole, path.setting
