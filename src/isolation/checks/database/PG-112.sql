-- PG-112 · The grants on an object have nearly filled their row
-- severity: medium
-- peach: hygiene
-- claim: No object has more than 500 entries in its ACL.
-- why: At about 8 kB, the 2,444th grant in a test, GRANT fails with 54000, and no further tenant can be
--   provisioned (seen in open-bank-oss #9689, where login roles were left over).
-- looks: The length of relacl, nspacl and datacl.
-- remedy: DROP OWNED BY "left_over"; DROP ROLE "left_over";   -- for each role that is left over
SELECT CASE WHEN x.entries >= 1500 THEN 'high' END, ARRAY[]::text[], ARRAY['*'], x.object || ' of database ' || current_database(),
  x.entries || ' grants; at about 2,400 PostgreSQL refuses more', ''
FROM (
  SELECT format('table %I.%I', n.nspname, c.relname) AS object, cardinality(c.relacl) AS entries
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE cardinality(c.relacl) > 500
  UNION ALL SELECT 'schema ' || nspname, cardinality(nspacl) FROM pg_namespace WHERE cardinality(nspacl) > 500
  UNION ALL SELECT 'database ' || datname, cardinality(datacl) FROM pg_database
    WHERE cardinality(datacl) > 500 AND datname = current_database()) x
