-- PG-122 · Tenants of one service have different versions of its tables
-- severity: medium
-- peach: hygiene
-- claim: All tenants of a service and module are at one version of the migrations, and none stopped
--   half way.
-- why: Works for tenant A, leaks for tenant B: that is how it begins. A policy or a constraint that a
--   migration adds is missing where it did not run.
-- looks: `schema_migrations` (version, dirty) in the schema of each tenant that the reader may read;
--   compared over all databases. The version that most tenants have is taken for the right one.
-- remedy: Run the migrations of the service for the tenant.
SELECT 'info', ARRAY[]::text[], array_agg(DISTINCT i.tenant), n.nspname::text, x.found, ''
FROM inv i JOIN pg_namespace n ON n.nspname = coalesce(i.sch, 'public')
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'schema_migrations' AND c.relkind = 'r' AND NOT c.relrowsecurity
CROSS JOIN LATERAL (SELECT CASE
  WHEN has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
   AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
        AND (a.attname = 'version' AND a.atttypid IN ('int8'::regtype, 'int4'::regtype) OR a.attname = 'dirty' AND a.atttypid = 'bool'::regtype)) = 2
  -- Two words, of which the number comes first; there is no other way to read a table by its name.
  THEN (SELECT string_agg(word, ' ' ORDER BY word COLLATE "C") FROM ts_stat(format(
    'SELECT array_to_tsvector(ARRAY[coalesce(max(version)::text, ''0''), coalesce(bool_or(dirty)::text, ''false'')]) FROM ONLY %I.schema_migrations',
    n.nspname))) END AS found) x
WHERE i.db = current_database() AND i.status <> 'purged' AND x.found IS NOT NULL
GROUP BY n.nspname, x.found
