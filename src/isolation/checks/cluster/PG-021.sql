-- PG-021 · A tenant may fill a tablespace
-- severity: low
-- peach: privilege
-- claim: No tenant's role was granted CREATE on a tablespace.
-- why: A disk that others need can be filled by whoever may put tables on it.
-- looks: pg_tablespace.spcacl.
-- remedy: REVOKE ALL ON TABLESPACE "fast" FROM "acme_app";
SELECT NULL, ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END], ARRAY['*'],
  'tablespace ' || t.spcname, a.privilege_type || ' is granted',
  {revoke ALL ON TABLESPACE %I; a; t.spcowner; t.spcname}
FROM pg_tablespace t CROSS JOIN LATERAL aclexplode(coalesce(t.spcacl, acldefault('t', t.spcowner))) a
WHERE a.grantee <> t.spcowner AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
