-- PG-115 · A scheduler runs jobs for tenants
-- severity: high
-- peach: privilege
-- claim: No tenant may put jobs into a scheduler of the cluster.
-- why: pg_cron keeps one table of jobs per cluster and runs them in any database, as the user in the
--   row.
-- looks: The extensions pg_cron and pg_timetable, and who may use their schema.
-- remedy: REVOKE ALL ON SCHEMA cron FROM PUBLIC;
SELECT NULL, ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END], ARRAY['*'],
  'schema ' || n.nspname || ' of database ' || current_database(), a.privilege_type || ' is granted on the schema of a scheduler',
  format(E'\\connect %I\n', current_database()) || {revoke ALL ON SCHEMA %I; a; n.nspowner; n.nspname}
FROM pg_namespace n CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
WHERE n.nspname IN ('cron', 'timetable') AND a.privilege_type = 'USAGE' AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
  AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname IN ('job', 'chain'))
