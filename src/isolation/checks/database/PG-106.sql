-- PG-106 · A tenant's code runs on an administrator's DDL
-- severity: critical
-- peach: privilege
-- claim: The function of every event trigger belongs to a superuser.
-- why: An event trigger runs with the rights of whoever issues DDL. If a tenant can replace its
--   function, the next migration by an administrator is the tenant's to use.
-- looks: pg_event_trigger and the owner of its function and of its schema.
-- remedy: DROP EVENT TRIGGER "name";
SELECT NULL, ARRAY[r.rolname::text], ARRAY['*'], 'event trigger ' || e.evtname || ' of database ' || current_database(),
  'on ' || e.evtevent || ' it runs ' || e.evtfoid::regproc || ', which ' || r.rolname || ' may replace',
  format(E'\\connect %I\nDROP EVENT TRIGGER %I;', current_database(), e.evtname)
FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_roles r ON r.oid = p.proowner
WHERE NOT r.rolsuper
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = e.oid AND d.classid = 'pg_event_trigger'::regclass AND d.deptype = 'e')
