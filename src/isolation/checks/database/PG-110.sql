-- PG-110 · Something in a tenant's schema belongs to another role
-- severity: medium
-- peach: hygiene
-- mode: schema
-- claim: Everything in a tenant's schema belongs to the tenant's own roles.
-- why: What a hand-run migration left behind: the tenant cannot change it, a restore trips over it, and
--   code of a superuser there runs for whoever calls it.
-- looks: Owners of tables, views, sequences and routines by schema.
-- remedy: ALTER TABLE "acme"."account" OWNER TO "acme_owner";
, held AS MATERIALIZED (
  SELECT n.oid AS nsp, n.nspowner, t.tenant, n.nspname FROM pg_namespace n JOIN schemas t ON t.sch = n.nspname),
object AS (
  SELECT h.tenant, h.nspname, h.nspowner, c.relowner AS owner, 'relations' AS kind, format('%I.%I', h.nspname, c.relname) AS name
  FROM pg_class c JOIN held h ON h.nsp = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL
  SELECT h.tenant, h.nspname, h.nspowner, p.proowner, 'routines', p.oid::regprocedure::text FROM pg_proc p JOIN held h ON h.nsp = p.pronamespace)
SELECT CASE WHEN o.owner IN (SELECT oid FROM roles) THEN 'critical' WHEN r.rolsuper AND o.kind = 'routines' THEN 'high' END,
  ARRAY[r.rolname::text], ARRAY[o.tenant], 'schema ' || o.nspname || ' of database ' || current_database(),
  count(*) || ' ' || o.kind || ' belong to ' || r.rolname || ', for example ' || min(o.name),
  format(E'\\connect %I\n-- for each of them, %s for example:\nALTER %s %s OWNER TO %I;', current_database(), min(o.name),
         CASE o.kind WHEN 'routines' THEN 'ROUTINE' ELSE 'TABLE' END, min(o.name),
         coalesce((SELECT min(role) FROM inv i WHERE i.tenant = o.tenant AND NOT i.login), (SELECT min(role) FROM inv i WHERE i.tenant = o.tenant)))
FROM object o JOIN pg_roles r ON r.oid = o.owner
LEFT JOIN roles own ON own.tenant = o.tenant AND own.oid = o.owner
WHERE own.oid IS NULL AND o.owner <> o.nspowner
GROUP BY o.tenant, o.nspname, o.owner, r.rolname, r.rolsuper, o.kind
