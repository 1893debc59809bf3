-- PG-019 · Tenants can list the names of all others
-- severity: info
-- kind: limit
-- peach: hygiene
-- claim: The names of databases and roles do not tell who the customers are.
-- why: pg_database and pg_roles are readable by everyone, on every PostgreSQL.
-- looks: Databases and roles whose name has the tenant's own in it.
-- remedy: Where it is confidential who your customers are, use slugs that do not speak.
SELECT NULL, ARRAY['PUBLIC'], array_agg(DISTINCT i.tenant), 'pg_database and pg_roles',
  count(DISTINCT i.tenant) || ' tenants can be recognised by the names of their databases and roles', ''
FROM inv i
WHERE length(i.tenant) > 2 AND (strpos(replace(lower(i.db), '-', '_'), replace(lower(i.tenant), '-', '_')) > 0
  OR strpos(replace(lower(i.role), '-', '_'), replace(lower(i.tenant), '-', '_')) > 0)
HAVING count(*) > 0
