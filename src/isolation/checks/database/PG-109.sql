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
  (SELECT string_agg(DISTINCT CASE WHEN a.grantee = d.datdba THEN format('ALTER DATABASE %I OWNER TO CURRENT_USER;', d.datname)
                                   ELSE {revoke CREATE ON DATABASE %I; a; d.datdba; d.datname} END, E'\n')
   FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
   WHERE d.datname = current_database() AND a.privilege_type = 'CREATE' AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able)))
FROM (SELECT DISTINCT tenant, role FROM inv) i JOIN pg_roles r ON r.rolname = i.role
WHERE NOT r.rolsuper AND has_database_privilege(r.oid, current_database(), 'CREATE')
HAVING count(*) > 0
