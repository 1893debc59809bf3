-- PG-111 · A table with rows of several tenants is not filtered by its policy
-- severity: critical
-- peach: privilege
-- mode: schema
-- claim: Every table outside of the tenants' schemas that has a tenant column has row security, forced,
--   with a policy that is not always true.
-- why: In a hybrid table the policy is all there is. It does not hold for the owner unless it is forced,
--   and a policy that reads an unset setting as NULL may let everything through.
--   A policy whose names of roles leave the tenants out counts for none, and a table that is nobody's
--   among them need not force it.
-- looks: Tables with a column tenant_id, tenantid or organization_tenant_id; pg_policy.
-- remedy: ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT NULL, ARRAY['PUBLIC'], ARRAY['*'], format('table %I.%I of database %s', n.nspname, c.relname, current_database()),
  CASE WHEN NOT c.relrowsecurity THEN 'row security is off'
       WHEN NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) THEN 'it has no policy'
       WHEN NOT c.relforcerowsecurity AND c.relowner IN (SELECT oid FROM able) THEN 'row security is not forced: ' || pg_get_userbyid(c.relowner) || ' sees every row'
       WHEN EXISTS (SELECT FROM able r WHERE has_table_privilege(r.oid, c.oid, 'TRUNCATE')) THEN 'TRUNCATE is granted, which no policy holds back'
       ELSE 'a policy is true for rows of others' END,
  format(E'\\connect %I\nALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;', current_database(), n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  AND n.nspname NOT IN (SELECT sch FROM schemas)
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
              AND lower(a.attname) IN ('tenant_id', 'tenantid', 'organization_tenant_id', 'tenant', 'tenant_slug', 'tenant_uuid'))
  AND EXISTS (SELECT FROM able r WHERE has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                                     OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE'))
  AND (NOT c.relrowsecurity OR NOT c.relforcerowsecurity AND c.relowner IN (SELECT oid FROM able)
    OR EXISTS (SELECT FROM able r WHERE has_table_privilege(r.oid, c.oid, 'TRUNCATE'))
    OR EXISTS (
      SELECT FROM pg_policy p CROSS JOIN LATERAL (VALUES (pg_get_expr(p.polqual, p.polrelid)), (pg_get_expr(p.polwithcheck, p.polrelid))) e(text)
      WHERE p.polrelid = c.oid AND p.polpermissive
        AND EXISTS (SELECT FROM unnest(p.polroles) r(oid) WHERE r.oid = 0 OR r.oid IN (SELECT oid FROM able))
        -- What a restrictive policy for everybody says besides holds for this one, too.
        AND NOT EXISTS (
          SELECT FROM pg_policy q WHERE q.polrelid = c.oid AND NOT q.polpermissive AND q.polcmd IN ('*', p.polcmd) AND 0 = ANY (q.polroles)
            AND pg_get_expr(q.polqual, q.polrelid) ~* 'tenant' AND pg_get_expr(q.polqual, q.polrelid) !~* '\m(OR|NULL|true|COALESCE|CASE)\M')
        AND (e.text ~* '^\(*(NOT \(*false|true)\)*$'
          OR e.text ~* '\mOR\M\s*\(*true\M' OR e.text ~* '\mtrue\)*\s*\mOR\M'
          -- One and the same on both sides, such as 1 = 1 or tenant_id = tenant_id.
          OR e.text ~ '^\(*(\w+)\)*\s*=\s*\(*\1\)*$'
          OR e.text ~ '^\(*(''[^'']*''(::\w+)?)\)*\s*=\s*\(*\1\)*$'
          OR e.text ~* '^\(*\w+ IS NOT NULL\)*$'
          -- Whoever sets nothing sees everything.
          OR e.text ~* 'current_setting\([^()]*\)[^()]*\)?\s*IS NULL'
          OR e.text ~* 'current_setting\([^()]*\)[^()]*\)?\s*=\s*''''(::\w+)?\)*\s+OR\M'
          OR e.text ~* '\mOR\M\s+\(*(COALESCE|NULLIF)?\(?current_setting\([^()]*\)[^()]*\)?\s*=\s*'''''
          OR regexp_replace(e.text, 'current_setting\([^()]*\)', 'setting', 'gi') ~* '\mCOALESCE\(.*, (\(*"?\w*tenant\w*"?(::\w+)?\)*|true|''%''(::\w+)?)\)'
          OR e.text ~* '\mIS NOT FALSE\M')))
