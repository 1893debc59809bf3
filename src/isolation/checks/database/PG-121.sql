-- PG-121 · Tenants of one database share channels and advisory locks
-- severity: high
-- kind: limit
-- peach: connectivity
-- mode: schema
-- claim: What one tenant notifies or locks does not reach another.
-- why: LISTEN and NOTIFY channels and advisory locks are per database and have no ACL: one tenant
--   received another's payload, and its lock made another wait (tried). A tenant in another database
--   was not touched.
-- looks: It is so wherever two tenants share a database; routines that use NOTIFY are counted.
-- remedy: Send no payload through NOTIFY, and derive lock ids from the schema; or use database mode.
SELECT CASE WHEN n.routines = 0 THEN 'medium' END, ARRAY['PUBLIC'], ARRAY['*'], 'database ' || current_database(),
  'channels and advisory locks are shared by ' || count(DISTINCT tenant) || ' tenants; '
    || CASE WHEN n.routines = 0 THEN 'no routine uses NOTIFY' ELSE n.routines || ' routines use NOTIFY' END, ''
FROM inv CROSS JOIN LATERAL (
  SELECT count(*) AS routines FROM pg_proc p WHERE p.oid >= 16384 AND p.prosrc ~* '\m(pg_notify|notify)\M') n
GROUP BY n.routines HAVING count(DISTINCT tenant) > 1
