-- PG-116 · Large objects are open to others
-- severity: high
-- peach: privilege
-- claim: lo_compat_privileges is off, and no large object is granted to PUBLIC or another tenant.
-- why: Large objects have an owner and no schema: in schema mode nothing but their ACL keeps tenants
--   apart, and lo_compat_privileges switches that off.
-- looks: The setting, and pg_largeobject_metadata.
-- remedy: ALTER SYSTEM SET lo_compat_privileges = off;
--   REVOKE ALL ON LARGE OBJECT 16403 FROM PUBLIC;
SELECT 'critical', ARRAY['PUBLIC'], ARRAY['*'], 'setting lo_compat_privileges', 'it is on', 'ALTER SYSTEM SET lo_compat_privileges = off; SELECT pg_reload_conf();'
WHERE current_setting('lo_compat_privileges') = 'on'
UNION ALL
SELECT NULL, ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END],
  coalesce((SELECT array_agg(DISTINCT tenant) FROM mine WHERE mine.oid = m.lomowner),
    (SELECT array_agg(DISTINCT tenant) FROM inv HAVING bool_and(mode = 'database') AND count(DISTINCT tenant) = 1), ARRAY['*']),
  'large objects of ' || pg_get_userbyid(m.lomowner) || ' in database ' || current_database(),
  count(DISTINCT m.oid) || ' with ' || string_agg(DISTINCT a.privilege_type, ', ') || ' granted, for example ' || min(m.oid::bigint),
  format(E'\\connect %I\n', current_database()) || array_to_string(
    (array_agg(DISTINCT {revoke ALL ON LARGE OBJECT %s; a; m.lomowner; m.oid}))[1:1000], E'\n')
FROM pg_largeobject_metadata m CROSS JOIN LATERAL aclexplode(m.lomacl) a
LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE a.grantee <> m.lomowner AND NOT coalesce(g.rolsuper, false)
  AND NOT EXISTS (SELECT FROM mine x JOIN mine y USING (tenant) WHERE x.oid = m.lomowner AND y.oid = a.grantee)
  -- In a database of its own a tenant may have what an administrator made.
  AND NOT (a.grantee IN (SELECT oid FROM mine) AND m.lomowner NOT IN (SELECT oid FROM mine)
           AND (SELECT bool_and(mode = 'database') AND count(DISTINCT tenant) = 1 FROM inv))
GROUP BY m.lomowner, a.grantee
