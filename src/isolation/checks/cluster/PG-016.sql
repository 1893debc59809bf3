-- PG-016 · A tenant's login has no connection limit
-- severity: low
-- peach: connectivity
-- claim: Every login of a tenant has a limit of connections, on the role or on its database.
-- why: One tenant without a limit takes every connection that the cluster has.
-- looks: rolconnlimit and datconnlimit of -1.
-- remedy: ALTER ROLE "acme_app" CONNECTION LIMIT 60;
SELECT NULL, ARRAY[r.rolname::text], array_agg(DISTINCT i.tenant), 'role ' || r.rolname, 'no limit on the role, none on its database',
  format('ALTER ROLE %I CONNECTION LIMIT 60;', r.rolname)
FROM inv i JOIN pg_roles r ON r.rolname = i.role JOIN pg_database d ON d.datname = i.db
WHERE i.login AND r.rolcanlogin AND r.rolconnlimit = -1
GROUP BY r.rolname
HAVING bool_and(d.datconnlimit = -1 OR i.mode = 'schema')
