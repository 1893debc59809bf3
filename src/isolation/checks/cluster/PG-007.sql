-- PG-007 · A tenant's role owns or was granted something outside of its own database
-- severity: critical
-- peach: privilege
-- claim: Everything that a tenant's roles own, or were granted by name, lies in the tenant's own
--   database.
-- why: A grant that a hurried migration left in another tenant's database is invisible from
--   everywhere but there.
-- looks: pg_shdepend, the dependency catalogue that all databases share: one query finds every grant
--   and every ownership in all of them, without connecting to any. A role that the inventory
--   does not know counts for its members. What was granted to PUBLIC does not stand there: PG-001.
-- remedy: In the database that the finding names, hand over what is owned and drop what was granted:
--   REASSIGN OWNED BY "acme_app" TO "borealis_owner"; DROP OWNED BY "acme_app";
, own AS (SELECT DISTINCT tenant, role, db FROM inv),
owned AS (SELECT DISTINCT o.tenant, d.oid FROM own o JOIN pg_database d ON d.datname = o.db)
SELECT CASE WHEN d.datname IS NOT NULL AND NOT EXISTS (SELECT FROM own WHERE own.db = d.datname) THEN 'high'
            WHEN s.dbid = 0 AND s.classid <> 'pg_database'::regclass THEN 'medium' END,
  ARRAY[i.role], ARRAY(SELECT DISTINCT own.tenant FROM own WHERE own.db = coalesce(d.datname, x.datname) ORDER BY 1),
  CASE WHEN d.datname IS NOT NULL THEN 'database ' || d.datname
       WHEN x.datname IS NOT NULL THEN 'database ' || x.datname
       ELSE 'the cluster''s shared objects' END,
  i.role || ' ' || CASE s.deptype WHEN 'o' THEN 'owns' WHEN 'a' THEN 'was granted rights on'
                                  WHEN 'r' THEN 'is named by policies of' ELSE 'has initial rights on' END
    || ' ' || count(DISTINCT (s.objid, s.objsubid)) || ' object' || CASE WHEN count(DISTINCT (s.objid, s.objsubid)) = 1 THEN '' ELSE 's' END || ' of ' || s.classid::regclass::text,
  CASE WHEN d.datname IS NULL AND x.datname IS NOT NULL
       THEN (SELECT string_agg(DISTINCT {revoke ALL ON DATABASE %I; a; y.datdba; y.datname}, E'\n')
             FROM pg_database y CROSS JOIN LATERAL aclexplode(y.datacl) a
             WHERE y.datname = x.datname AND a.grantee = to_regrole(quote_ident(i.role)))
       WHEN d.datname IS NULL THEN format('-- look at it, then:  DROP OWNED BY %I;', i.role)
       WHEN s.deptype = 'o' THEN format(E'\\connect %I\nREASSIGN OWNED BY %I TO CURRENT_USER;', d.datname, i.role)
       ELSE format(E'\\connect %I\nDROP OWNED BY %I;', d.datname, i.role) END
FROM (
  SELECT tenant, role, false AS member FROM own
  UNION
  -- What a role outside of the inventory was granted, every member has.
  SELECT x.tenant, q.rolname::text, true FROM able x JOIN pg_roles q ON q.oid = x.oid
  WHERE q.rolname !~ '^pg_' AND x.oid NOT IN (SELECT oid FROM roles)) i
JOIN pg_roles r ON r.rolname = i.role
JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
LEFT JOIN pg_database d ON d.oid = s.dbid
LEFT JOIN pg_database x ON s.dbid = 0 AND s.classid = 'pg_database'::regclass AND x.oid = s.objid
WHERE s.classid NOT IN ('pg_auth_members'::regclass, 'pg_parameter_acl'::regclass, 'pg_tablespace'::regclass)
  AND NOT (s.dbid = 0 AND s.classid = 'pg_database'::regclass AND (s.deptype = 'o' OR i.member))
  AND NOT EXISTS (SELECT FROM own WHERE own.tenant = i.tenant AND own.db = d.datname)
  AND NOT EXISTS (SELECT FROM owned WHERE owned.tenant = i.tenant AND s.dbid = 0
                  AND s.classid = 'pg_database'::regclass AND owned.oid = s.objid)
GROUP BY i.role, d.datname, x.datname, s.dbid, s.classid, s.deptype
