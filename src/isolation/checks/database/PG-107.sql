-- PG-107 · Default privileges will open what is made next
-- severity: high
-- peach: privilege
-- claim: Default privileges give nothing to PUBLIC or to another tenant's roles.
-- why: The leak that is not there yet: the next migration makes it, in every table at once.
-- looks: pg_default_acl, as far as it gives to somebody else than the role itself and its tenant.
-- remedy: ALTER DEFAULT PRIVILEGES FOR ROLE "borealis_owner" REVOKE ALL ON TABLES FROM "acme_app";
SELECT CASE WHEN d.defaclobjtype IN ('f', 'T') AND a.grantee = 0 THEN 'medium' END,
  ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END],
  coalesce((SELECT array_agg(DISTINCT tenant) FROM roles WHERE roles.oid = d.defaclrole),
           (SELECT array_agg(DISTINCT tenant) FROM schemas WHERE schemas.sch = n.nspname),
           (SELECT array_agg(DISTINCT tenant) FROM inv HAVING bool_and(mode = 'database') AND count(DISTINCT tenant) = 1), ARRAY['*']),
  'default privileges of ' || pg_get_userbyid(d.defaclrole) || coalesce(' in schema ' || n.nspname, '') || ' of database ' || current_database(),
  string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) || ' on ' || k.word || ' to '
    || CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END,
  format(E'\\connect %I\nALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %s;', current_database(), pg_get_userbyid(d.defaclrole),
         CASE WHEN n.nspname IS NULL THEN '' ELSE format(' IN SCHEMA %I', n.nspname) END, k.word,
         CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)::text) END)
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) a
CROSS JOIN LATERAL (SELECT CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES'
                                               WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END AS word) k
LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE a.grantee <> d.defaclrole AND NOT coalesce(g.rolsuper, false)
  AND NOT EXISTS (SELECT FROM mine AS own JOIN mine AS theirs USING (tenant)
                  WHERE theirs.oid = a.grantee
                    AND (own.oid = d.defaclrole OR own.tenant = (SELECT tenant FROM schemas WHERE sch = n.nspname)
                         OR (SELECT bool_and(mode = 'database') FROM inv)))
GROUP BY d.defaclrole, n.nspname, a.grantee, d.defaclobjtype, k.word
