-- PG-114 · An untrusted language is usable by tenants
-- severity: critical
-- peach: privilege
-- claim: No untrusted language is granted to a tenant or to PUBLIC.
-- why: Code in plpython3u or plperlu runs as the server's own account: it reads every file of the
--   cluster.
-- looks: pg_language with lanpltrusted off and somebody else than its owner in its ACL.
-- remedy: DROP EXTENSION plpython3u;
SELECT NULL, ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END], ARRAY['*'],
  'language ' || l.lanname || ' of database ' || current_database(), 'USAGE is granted',
  format(E'\\connect %I\n', current_database()) || {revoke ALL ON LANGUAGE %I; a; l.lanowner; l.lanname}
FROM pg_language l CROSS JOIN LATERAL aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) a
WHERE (CASE WHEN l.lanname IN ('internal', 'c') THEN l.lanpltrusted ELSE NOT l.lanpltrusted AND l.lanacl IS NOT NULL END)
  AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
