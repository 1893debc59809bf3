-- PG-110 · Something in a tenant's schema belongs to another role
-- severity: medium
-- peach: hygiene
-- mode: schema
-- claim: Everything in a tenant's schema belongs to the tenant's own roles, and nothing in a schema that
--   several may use belongs to one of them.
-- why: What a hand-run migration left behind: the tenant cannot change it, a restore trips over it, and
--   code of a superuser there runs for whoever calls it. And whoever owns a function or a view in a shared
--   schema may replace it, and what it then does it does with the rights of the others who use it.
-- looks: Owners of tables, views, sequences and routines by schema, and of shared schemas themselves.
-- remedy: ALTER TABLE "acme"."account" OWNER TO "acme_owner";
, held AS MATERIALIZED (
  SELECT n.oid AS nsp, n.nspowner, t.tenant, n.nspname FROM pg_namespace n JOIN schemas t ON t.sch = n.nspname),
object AS (
  SELECT h.tenant, h.nspname, h.nspowner, c.relowner AS owner, 'relations' AS kind, format('%I.%I', h.nspname, c.relname) AS name
  FROM pg_class c JOIN held h ON h.nsp = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL
  SELECT h.tenant, h.nspname, h.nspowner, p.proowner, 'routines', p.oid::regprocedure::text FROM pg_proc p JOIN held h ON h.nsp = p.pronamespace)
SELECT CASE WHEN o.owner IN (SELECT oid FROM able) THEN 'critical' WHEN r.rolsuper AND o.kind = 'routines' THEN 'high' END,
  ARRAY[r.rolname::text], ARRAY[o.tenant], 'schema ' || o.nspname || ' of database ' || current_database(),
  count(*) || ' ' || o.kind || ' belong to ' || r.rolname || ', for example ' || min(o.name),
  format(E'\\connect %I\n-- for each of them, %s for example:\nALTER %s %s OWNER TO %I;', current_database(), min(o.name),
         CASE o.kind WHEN 'routines' THEN 'ROUTINE' ELSE 'TABLE' END, min(o.name),
         coalesce((SELECT min(role) FROM inv i WHERE i.tenant = o.tenant AND NOT i.login), (SELECT min(role) FROM inv i WHERE i.tenant = o.tenant)))
FROM object o JOIN pg_roles r ON r.oid = o.owner
LEFT JOIN mine own ON own.tenant = o.tenant AND own.oid = o.owner
-- What the owner of the schema has there is in order, unless that is another tenant.
WHERE own.oid IS NULL AND (o.owner <> o.nspowner OR o.owner IN (SELECT oid FROM able))
GROUP BY o.tenant, o.nspname, o.owner, r.rolname, r.rolsuper, o.kind
UNION ALL
-- What lies where others may look, and one tenant may replace.
SELECT 'high', ARRAY[r.rolname::text], ARRAY(SELECT DISTINCT x.tenant FROM able x WHERE x.tenant <> o.tenant AND (o.usable = 0 OR x.oid = o.usable) ORDER BY 1),
  'schema ' || o.nspname || ' of database ' || current_database(),
  r.rolname || ' of tenant ' || o.tenant || ' may replace what others use there: ' || string_agg(DISTINCT o.name, ', '),
  format(E'\\connect %I\nREASSIGN OWNED BY %I TO CURRENT_USER;  -- of what lies in schema %I', current_database(), r.rolname, o.nspname)
FROM (
  SELECT m.tenant, n.nspname, u.grantee AS usable, x.owner, x.name
  FROM pg_namespace n
  CROSS JOIN LATERAL aclexplode(n.nspacl) u
  JOIN LATERAL (
    SELECT n.nspowner AS owner, 'the schema itself' AS name
    UNION ALL SELECT p.proowner, p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = n.oid AND NOT p.prosecdef
    UNION ALL SELECT c.relowner, c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  ) x ON true
  JOIN mine m ON m.oid = x.owner
  WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' AND n.nspname NOT IN (SELECT sch FROM schemas)
    AND u.privilege_type = 'USAGE'
    AND (u.grantee = 0 OR u.grantee IN (SELECT a.oid FROM able a WHERE a.tenant <> m.tenant))) o
JOIN pg_roles r ON r.oid = o.owner
WHERE (SELECT count(DISTINCT tenant) FROM inv) > 1
GROUP BY r.rolname, o.tenant, o.nspname, o.usable
