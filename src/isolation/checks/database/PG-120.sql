-- PG-120 · Tenants of one database see each other's statistics and source code
-- severity: medium
-- kind: limit
-- peach: hygiene
-- mode: schema
-- claim: A tenant learns nothing about the volume and the code of others.
-- why: In a shared database every login reads the row counts, the insert counts, the sizes and the
--   source of the functions of all schemas, without any right on them (tried). For a ledger, that is
--   how many transactions every other customer makes. No setting takes it away; database mode does.
-- looks: It is so wherever two tenants share a database.
-- remedy: Move tenants that must not learn this to a database of their own (`--isolation database`).
SELECT NULL, ARRAY['PUBLIC'], ARRAY['*'], 'database ' || current_database(),
  count(DISTINCT tenant) || ' tenants see each other''s row counts, insert counts, sizes and function sources', ''
FROM inv HAVING count(DISTINCT tenant) > 1
