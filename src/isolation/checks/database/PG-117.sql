-- PG-117 · A publication spans tenants
-- severity: high
-- peach: privilege
-- mode: schema
-- claim: No publication of a shared database carries tables of more than one tenant.
-- why: Whoever subscribes gets the rows of all of them, and in one stream nothing tells them apart.
-- looks: pg_publication with all tables, and pg_publication_tables by schema.
-- remedy: DROP PUBLICATION "everything";   -- and one per tenant: FOR TABLES IN SCHEMA "acme"
SELECT NULL, ARRAY[pg_get_userbyid(p.pubowner)::text], array_agg(DISTINCT s.tenant), 'publication ' || p.pubname || ' of database ' || current_database(),
  CASE WHEN p.puballtables THEN 'it carries all tables' ELSE 'it carries tables of ' || count(DISTINCT s.tenant) || ' tenants' END,
  format(E'\\connect %I\nDROP PUBLICATION %I;', current_database(), p.pubname)
FROM pg_publication p LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname LEFT JOIN schemas s ON s.sch = t.schemaname
GROUP BY p.pubname, p.puballtables, p.pubowner
HAVING p.puballtables OR count(DISTINCT s.tenant) > 1
