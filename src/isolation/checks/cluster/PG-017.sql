-- PG-017 · Replication reaches into tenants' databases
-- severity: high
-- peach: privilege
-- claim: No logical slot decodes a tenant's database, and no subscription of a tenant's role exists.
-- why: A logical slot hands out every row that changes, whatever the grants say. A subscription runs
--   code as its owner, and an idle slot keeps the log of all tenants until the disk is full.
-- looks: pg_replication_slots of tenants' databases. Change data capture that is wanted belongs in the
--   waivers file, with an owner.
-- remedy: SELECT pg_drop_replication_slot('name');
SELECT CASE WHEN NOT s.active THEN 'medium' END, ARRAY[]::text[],
  ARRAY(SELECT DISTINCT i.tenant FROM inv i WHERE i.db = s.database ORDER BY 1), 'slot ' || s.slot_name,
  'plugin ' || coalesce(s.plugin, '-') || ' decodes database ' || s.database || CASE WHEN s.active THEN ', in use' ELSE ', idle' END,
  format('SELECT pg_drop_replication_slot(%L);', s.slot_name)
FROM pg_replication_slots s WHERE s.database IN (SELECT db FROM inv)
UNION ALL
SELECT CASE WHEN NOT s.subenabled AND s.subowner NOT IN (SELECT oid FROM able) THEN 'medium' END,
  ARRAY[pg_get_userbyid(s.subowner)::text], ARRAY(SELECT DISTINCT i.tenant FROM inv i WHERE i.db = d.datname ORDER BY 1),
  'subscription ' || s.subname || ' of database ' || d.datname,
  'rows of another server are written here as ' || pg_get_userbyid(s.subowner) || CASE WHEN s.subenabled THEN '' ELSE ', switched off' END,
  format(E'\\connect %I\nDROP SUBSCRIPTION %I;', d.datname, s.subname)
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname IN (SELECT db FROM inv)
