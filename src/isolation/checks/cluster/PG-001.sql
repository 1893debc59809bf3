-- PG-001 · PUBLIC has rights on a tenant's database
-- severity: high
-- peach: privilege
-- claim: PUBLIC has no right on any database that holds tenants.
-- why: PUBLIC is every role of the cluster, those of the other tenants included. PostgreSQL grants
--   CONNECT and TEMPORARY on a new database to PUBLIC, so every database made with a plain CREATE
--   DATABASE is open until somebody closes it. Reported for cloudnative-pg (#10831) and for the
--   Terraform provider (#133).
-- looks: Rights of grantee 0 in pg_database.datacl. A NULL there stands for the built-in defaults,
--   which are open; checks that only read what is stored miss exactly the untouched databases.
-- remedy: As the owner of the database, take the rights back and let the tenant's own role in:
--   REVOKE ALL ON DATABASE "acme" FROM PUBLIC;
--   GRANT CONNECT ON DATABASE "acme" TO "acme_app";
SELECT CASE WHEN NOT bool_or(a.privilege_type = 'CONNECT') THEN 'medium'
            WHEN (SELECT count(DISTINCT i.tenant) FROM inv i WHERE i.db = d.datname) > 1 THEN 'medium' END,
  ARRAY['PUBLIC'],
  ARRAY(SELECT DISTINCT i.tenant FROM inv i WHERE i.db = d.datname ORDER BY 1),
  'database ' || d.datname,
  'PUBLIC has ' || string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
    || CASE WHEN (d.datacl IS NULL) THEN ' (the built-in defaults, never changed)' ELSE '' END,
  string_agg(DISTINCT {revoke ALL ON DATABASE %I; a; d.datdba; d.datname}, E'\n')
    || coalesce((SELECT string_agg(format(E'\nGRANT CONNECT ON DATABASE %I TO %I;', d.datname, i.role), '' ORDER BY i.role)
                 FROM (SELECT DISTINCT role FROM inv WHERE db = d.datname AND login) i), '')
FROM pg_database d
CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
WHERE a.grantee = 0 AND d.datname IN (SELECT db FROM inv)
GROUP BY d.datname, (d.datacl IS NULL)
