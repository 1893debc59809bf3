-- PG-027 · Cluster and inventory do not agree
-- severity: medium
-- peach: hygiene
-- claim: Every database and login of the inventory exists, and everything with our mark is in it.
-- why: What nobody knows about, nobody closes. A missing database means that the inventory is wrong,
--   and then every other answer is about something else.
-- looks: The difference both ways, by name and by ownership mark. Databases and roles without a mark
--   are not ours and are left out.
-- remedy: `lerianctl db list` tells what is expected. Purge what is left over with
--   `lerianctl tenant purge`.
SELECT 'high', ARRAY[]::text[], array_agg(DISTINCT i.tenant), 'database ' || i.db, 'it is in the inventory and not on the cluster', ''
FROM inv i WHERE i.status <> 'purged' AND i.db NOT IN (SELECT datname FROM pg_database) GROUP BY i.db
UNION ALL
SELECT 'high', ARRAY[i.role], array_agg(DISTINCT i.tenant), 'role ' || i.role, 'it is in the inventory and not on the cluster', ''
FROM inv i WHERE i.status <> 'purged' AND i.role NOT IN (SELECT rolname FROM pg_roles) GROUP BY i.role
UNION ALL
SELECT NULL, ARRAY[]::text[], ARRAY[]::text[], 'database ' || d.datname, 'it is marked as a tenant''s and not in the inventory: ' || shobj_description(d.oid, 'pg_database'), ''
FROM pg_database d
WHERE shobj_description(d.oid, 'pg_database') LIKE 'lerianctl/1 kind=tenant %' AND d.datname NOT IN (SELECT db FROM inv)
  AND (SELECT bool_or(complete) FROM inv)
UNION ALL
SELECT CASE WHEN r.rolcanlogin THEN NULL ELSE 'low' END, ARRAY[r.rolname::text], ARRAY[]::text[], 'role ' || r.rolname,
  'it is marked as a tenant''s and not in the inventory: ' || shobj_description(r.oid, 'pg_authid'), ''
FROM pg_roles r
WHERE shobj_description(r.oid, 'pg_authid') LIKE 'lerianctl/1 kind=tenant %' AND r.rolname NOT IN (SELECT role FROM inv)
  AND (SELECT bool_or(complete) FROM inv)
