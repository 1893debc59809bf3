-- PG-006 · One role serves several tenants
-- severity: critical
-- peach: authentication
-- claim: Every tenant has a login role of its own.
-- why: PostgreSQL cannot tell two tenants apart that come as one role. In schema mode every session
--   of the shared role can run ALTER ROLE … SET search_path on itself and so redirect the later
--   sessions of all the others (tried).
-- looks: Roles that stand with more than one tenant in the inventory of this cluster.
-- remedy: Make one login per tenant and hand it out:
--   CREATE ROLE "acme_app" LOGIN PASSWORD '…' IN ROLE "acme_owner";
SELECT CASE WHEN bool_and(mode = 'schema') THEN 'high' END,
  ARRAY[role], array_agg(DISTINCT tenant), 'role ' || role,
  'it is the login of ' || count(DISTINCT tenant) || ' tenants',
  '-- one login per tenant, then hand it out instead of ' || quote_ident(role) || E':\n' ||
  (SELECT string_agg(format('CREATE ROLE %I LOGIN PASSWORD NULL;', left(role || '_' || t, 63)), E'\n')
   FROM unnest((array_agg(DISTINCT tenant))[1:20]) t)
FROM inv WHERE login GROUP BY role HAVING count(DISTINCT tenant) > 1
