-- PG-023 · A prepared transaction was left behind
-- severity: low
-- peach: hygiene
-- claim: No prepared transaction waits in a tenant's database.
-- why: Its id is visible to every login, it keeps its locks, and DROP DATABASE does not get past it,
--   not even with FORCE: a purge stands still.
-- looks: pg_prepared_xacts of tenants' databases, older than one minute.
-- remedy: ROLLBACK PREPARED 'gid';   -- in that database
SELECT NULL, ARRAY[p.owner::text], ARRAY(SELECT DISTINCT i.tenant FROM inv i WHERE i.db = p.database ORDER BY 1),
  'database ' || p.database, 'transaction ' || p.gid || ' was prepared at ' || p.prepared,
  format(E'\\connect %I\nROLLBACK PREPARED %L;', p.database, p.gid)
FROM pg_prepared_xacts p
WHERE p.database IN (SELECT db FROM inv) AND p.prepared < now() - interval '1 minute'
