-- PG-104 · A routine of a tenant mentions another tenant's schema
-- severity: medium
-- peach: hygiene
-- mode: schema
-- claim: No routine in a tenant's schema has another tenant's schema in its text.
-- why: What a routine does is decided when it runs; a name that was written into it is what PostgreSQL
--   itself cannot show as a dependency.
-- looks: pg_proc.prosrc, for the names of the other tenants' schemas. A heuristic: SQL that is put
--   together at run time is not seen.
-- remedy: Write the routine without the name; the search path of the session decides.
, routine AS MATERIALIZED (
  SELECT p.oid, p.prosrc, t.tenant, n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN schemas t ON t.sch = n.nspname),
mention AS MATERIALIZED (
  SELECT DISTINCT r.oid, r.tenant, lower(word[1]) AS word FROM routine r
  CROSS JOIN LATERAL regexp_matches(r.prosrc, '[[:alpha:]_][[:alnum:]_$]*', 'g') word
  UNION
  -- What is no plain word stands in quotes, as a name or as the text that becomes one.
  SELECT r.oid, r.tenant, replace(word[1], '""', '"') FROM routine r
  CROSS JOIN LATERAL regexp_matches(r.prosrc, '"((?:[^"]|"")+)"', 'g') word
  UNION
  SELECT r.oid, r.tenant, replace(word[1], '''''', '''') FROM routine r
  CROSS JOIN LATERAL regexp_matches(r.prosrc, '''((?:[^'']|'''')+)''', 'g') word)
SELECT DISTINCT NULL, ARRAY(SELECT role FROM inv i WHERE i.tenant = m.tenant AND i.login ORDER BY 1 LIMIT 1), ARRAY[s.tenant],
  'routine ' || m.oid::regprocedure::text || ' of database ' || current_database(), 'it mentions schema ' || s.sch, ''
FROM mention m JOIN (SELECT tenant, sch, sch AS word FROM schemas UNION SELECT tenant, sch, lower(sch) FROM schemas) s ON s.word = m.word
WHERE s.tenant <> m.tenant
