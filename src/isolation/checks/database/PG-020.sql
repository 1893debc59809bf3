-- PG-020 · Statement statistics are readable by everyone
-- severity: medium
-- peach: hygiene
-- claim: pg_stat_statements is not readable by tenants.
-- why: The text of others is masked, but the calls and rows of every statement are not (tried): for a
--   ledger that is the volume of business of every other tenant on the cluster.
-- looks: The grants on the view pg_stat_statements where it is installed.
-- remedy: REVOKE SELECT ON pg_stat_statements FROM PUBLIC;
SELECT NULL, ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END], ARRAY['*'],
  format('%I.%I', n.nspname, c.relname), 'SELECT is granted',
  format(E'\\connect %I\n', current_database()) || {revoke ALL ON %I.%I; a; c.relowner; n.nspname; c.relname}
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a
WHERE c.relname IN ('pg_stat_statements', 'pg_stat_statements_info') AND c.relkind = 'v' AND a.privilege_type = 'SELECT'
  AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
