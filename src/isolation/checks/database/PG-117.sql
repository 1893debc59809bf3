-- PG-117 · A publication spans tenants
-- severity: high
-- peach: privilege
-- mode: schema
-- claim: No publication of a shared database carries tables of more than one tenant.
-- why: Whoever subscribes gets the rows of all of them, and in one stream nothing tells them apart.
-- looks: pg_publication with all tables, and pg_publication_tables by schema.
-- remedy: DROP PUBLICATION "everything";   -- and one per tenant: FOR TABLES IN SCHEMA "acme"
-- Schemas that are carried whole stand in pg_publication_namespace (6237, since PostgreSQL 15), also
-- while they hold no table yet; pg_depend knows them on every version.
, carried AS (
  SELECT p.oid, s.tenant FROM pg_publication p JOIN pg_publication_tables t ON t.pubname = p.pubname JOIN schemas s ON s.sch = t.schemaname
  UNION
  SELECT a.refobjid, s.tenant FROM pg_depend a JOIN pg_depend b ON b.classid = a.classid AND b.objid = a.objid
  JOIN pg_namespace n ON n.oid = b.refobjid JOIN schemas s ON s.sch = n.nspname
  WHERE a.classid = 6237 AND a.refclassid = 'pg_publication'::regclass AND b.refclassid = 'pg_namespace'::regclass)
SELECT NULL, ARRAY[pg_get_userbyid(p.pubowner)::text], coalesce(array_agg(DISTINCT c.tenant) FILTER (WHERE c.tenant IS NOT NULL), ARRAY['*']),
  'publication ' || p.pubname || ' of database ' || current_database(),
  CASE WHEN p.puballtables THEN 'it carries all tables'
       WHEN count(DISTINCT c.tenant) > 1 THEN 'it carries tables of ' || count(DISTINCT c.tenant) || ' tenants'
       ELSE 'it belongs to ' || pg_get_userbyid(p.pubowner) || ', a role of another tenant' END,
  format(E'\\connect %I\nDROP PUBLICATION %I;', current_database(), p.pubname)
FROM pg_publication p LEFT JOIN carried c ON c.oid = p.oid
GROUP BY p.oid, p.pubname, p.puballtables, p.pubowner
HAVING p.puballtables OR count(DISTINCT c.tenant) > 1
  OR bool_or(EXISTS (SELECT FROM able x WHERE x.oid = p.pubowner AND x.tenant <> c.tenant)
             AND NOT EXISTS (SELECT FROM able x WHERE x.oid = p.pubowner AND x.tenant = c.tenant))
