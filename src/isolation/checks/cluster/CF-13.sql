-- CF-13 · Tenants together may open more connections than the cluster has
-- severity: info
-- peach: connectivity
-- claim: The connection limits of all tenants' logins together fit into the cluster's.
-- why: When the last connection is gone, the next tenant's request fails, whoever took them.
-- looks: The sum of rolconnlimit of the logins against max_connections less those reserved for
--   superusers. Over-committing by design is common, and so this is noted, not failed. With the
--   products' environments (--product-env) what they can open at most is added up, too: tenants, modules,
--   pools and replicas; that fails.
-- remedy: Lower `--max-open-conns` of the associations, or raise max_connections.
SELECT NULL, ARRAY[]::text[], ARRAY['*'], 'connections',
  'logins may open ' || sum(l.rolconnlimit) || ' connections, the cluster has '
    || (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int),
  '-- lower the limits of the associations, or raise max_connections'
FROM (SELECT DISTINCT r.rolname, r.rolconnlimit FROM inv i JOIN pg_roles r ON r.rolname = i.role
      WHERE i.login AND r.rolcanlogin AND r.rolconnlimit > 0) l
HAVING sum(l.rolconnlimit) > current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
