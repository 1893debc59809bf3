-- PG-118 · Statistics of a tenant's table lie in a foreign schema
-- severity: medium
-- peach: hygiene
-- mode: schema
-- claim: Extended statistics lie in the schema of their table.
-- why: Whoever owns the statistics object could read values of the table behind it in servers without
--   the fix for CVE-2024-4317 and its kin.
-- looks: pg_statistic_ext whose schema is not that of its table.
-- remedy: ALTER STATISTICS "a"."s" SET SCHEMA "b";
SELECT NULL, ARRAY[pg_get_userbyid(x.stxowner)::text], ARRAY[t.tenant], format('statistics %I.%I of database %s', n.nspname, x.stxname, current_database()),
  'they are of table ' || x.stxrelid::regclass, format(E'\\connect %I\nALTER STATISTICS %I.%I SET SCHEMA %I;', current_database(), n.nspname, x.stxname, t.sch)
FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace JOIN pg_class c ON c.oid = x.stxrelid
JOIN pg_namespace cn ON cn.oid = c.relnamespace JOIN schemas t ON t.sch = cn.nspname
WHERE n.oid <> cn.oid
