-- PG-111 · A table with rows of several tenants is not filtered by its policy
-- severity: critical
-- peach: privilege
-- mode: schema
-- claim: Every table outside of the tenants' schemas that has a tenant column has row security, forced,
--   with a policy that is not always true.
-- why: In a hybrid table the policy is all there is. It does not hold for the owner unless it is forced,
--   and a policy that reads an unset setting as NULL may let everything through.
-- looks: Tables with a column tenant_id, tenantid or organization_tenant_id; pg_policy.
-- remedy: ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT NULL, ARRAY['PUBLIC'], ARRAY['*'], format('table %I.%I of database %s', n.nspname, c.relname, current_database()),
  CASE WHEN NOT c.relrowsecurity THEN 'row security is off'
       WHEN NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) THEN 'it has no policy'
       WHEN NOT c.relforcerowsecurity THEN 'row security is not forced: ' || pg_get_userbyid(c.relowner) || ' sees every row'
       WHEN EXISTS (SELECT FROM able r WHERE has_table_privilege(r.oid, c.oid, 'TRUNCATE')) THEN 'TRUNCATE is granted, which no policy holds back'
       ELSE 'a policy is true for rows of others' END,
  format(E'\\connect %I\nALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;', current_database(), n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  AND n.nspname NOT IN (SELECT sch FROM schemas)
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
              AND lower(a.attname) IN ('tenant_id', 'tenantid', 'organization_tenant_id', 'tenant', 'tenant_slug', 'tenant_uuid'))
  AND EXISTS (SELECT FROM roles r WHERE has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                                     OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE'))
  AND (NOT c.relrowsecurity OR NOT c.relforcerowsecurity
    OR EXISTS (SELECT FROM able r WHERE has_table_privilege(r.oid, c.oid, 'TRUNCATE'))
    OR EXISTS (
      SELECT FROM pg_policy p CROSS JOIN LATERAL (VALUES (pg_get_expr(p.polqual, p.polrelid)), (pg_get_expr(p.polwithcheck, p.polrelid))) e(text)
      WHERE p.polrelid = c.oid AND p.polpermissive
        AND (e.text ~* '^\(*true\)*$'
          OR e.text ~* '\mOR\M\s*\(*true\M' OR e.text ~* '\mtrue\)*\s*\mOR\M'
          -- One and the same on both sides, such as 1 = 1 or tenant_id = tenant_id.
          OR e.text ~ '^\(*(\w+)\)*\s*=\s*\(*\1\)*$'
          -- Whoever sets nothing sees everything.
          OR e.text ~* 'current_setting\([^()]*\)[^()]*\)?\s*IS NULL')))
