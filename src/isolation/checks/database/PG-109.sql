-- PG-109 · A tenant may make schemas in the shared database
-- severity: high
-- peach: privilege
-- mode: schema
-- claim: No tenant has CREATE on a database that it shares.
-- why: Whoever may make schemas makes the one of the tenant that is about to come, and owns it.
-- looks: The ACL of the database, memberships included.
-- remedy: REVOKE CREATE ON DATABASE "shared" FROM "acme_app";
SELECT NULL, array_agg(DISTINCT i.role), ARRAY['*'], 'database ' || current_database(),
  'CREATE is held by roles of ' || count(DISTINCT i.tenant) || ' tenants',
  string_agg(DISTINCT format('REVOKE CREATE ON DATABASE %I FROM %I;', current_database(), i.role), E'\n')
FROM (SELECT DISTINCT tenant, role FROM inv) i JOIN pg_roles r ON r.rolname = i.role
WHERE NOT r.rolsuper AND has_database_privilege(r.oid, current_database(), 'CREATE')
HAVING count(*) > 0
