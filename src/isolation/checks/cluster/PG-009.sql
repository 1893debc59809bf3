-- PG-009 · The maintenance databases are open to tenants
-- severity: info
-- peach: connectivity
-- claim: Tenants cannot enter postgres and template1.
-- why: There the roles of all tenants meet: LISTEN and NOTIFY, advisory locks and, on clusters that
--   were upgraded from before version 15, a schema public that everybody may write to. A tenant that
--   may CREATE in template1 puts objects into every database made later.
-- looks: The rights of PUBLIC on these databases. Only entering is noted, since managed services want
--   it for their health checks; being able to create there is a finding.
-- remedy: REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
SELECT CASE WHEN bool_or(a.privilege_type = 'CREATE') THEN 'high' END,
  ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END], ARRAY[]::text[],
  'database ' || d.datname,
  CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END || ' has '
    || string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type),
  string_agg(DISTINCT {revoke %s ON DATABASE %I; a; d.datdba; CASE WHEN a.privilege_type = 'CREATE' THEN 'CREATE' ELSE 'ALL' END; d.datname}, E'\n')
    -- Managed services want to enter: where there is more to take, only that is taken.
    FILTER (WHERE a.privilege_type = 'CREATE' OR NOT made.is_so)
FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
CROSS JOIN LATERAL (
  SELECT EXISTS (SELECT FROM aclexplode(d.datacl) c WHERE c.grantee = a.grantee AND c.privilege_type = 'CREATE') AS is_so) made
WHERE d.datname IN ('postgres', 'template1') AND d.datallowconn AND a.privilege_type IN ('CONNECT', 'CREATE')
  AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
  AND d.datname NOT IN (SELECT db FROM inv)
GROUP BY d.datname, a.grantee
