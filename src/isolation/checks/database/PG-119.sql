-- PG-119 · A view reads with more rights than its reader has
-- severity: high
-- peach: privilege
-- claim: No view that a tenant may read belongs to a role that outranks it, unless it is a
--   security_invoker view.
-- why: A view reads with its owner's rights: the usual shape of the shortcut for reports.
-- looks: Views and materialised views outside of extensions whose owner is not a role of the reader's
--   tenant. Reached are the tenant of that owner, or else those of the tables that the view reads, through
--   other views as well; where one of these is nobody's, everybody.
-- remedy: ALTER VIEW "v" SET (security_invoker = true);   -- since PostgreSQL 15
, reads(view, oid) AS (
  SELECT w.ev_class, d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
  WHERE w.ev_class >= 16384
  UNION
  SELECT x.view, d.refobjid FROM reads x JOIN pg_rewrite w ON w.ev_class = x.oid JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
    AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class)
SELECT CASE WHEN r.rolsuper OR r.rolbypassrls THEN 'critical' END,
  array_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END),
  whose.tenants,
  format('view %I.%I of database %s', n.nspname, c.relname, current_database()), CASE WHEN bool_or(a.privilege_type <> 'SELECT') THEN 'it reads and writes as ' ELSE 'it reads as ' END || r.rolname,
  format(E'\\connect %I\n', current_database()) || CASE WHEN c.relkind = 'v' THEN format('ALTER VIEW %I.%I SET (security_invoker = true);', n.nspname, c.relname)
       ELSE string_agg(DISTINCT {revoke ALL ON %I.%I; a; c.relowner; n.nspname; c.relname}, E'\n') END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
CROSS JOIN LATERAL (SELECT
  coalesce((SELECT array_agg(DISTINCT tenant) FROM mine WHERE mine.oid = c.relowner),
    (SELECT CASE WHEN bool_and(w.tenant IS NOT NULL AND t.relkind <> 'f') AND NOT EXISTS (
         -- What a function reads does not show, nor where a foreign table leads.
         SELECT FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
         WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384
           AND (w.ev_class = c.oid OR w.ev_class IN (SELECT y.oid FROM reads y WHERE y.view = c.oid)))
       THEN array_agg(DISTINCT w.tenant) END
     FROM reads x JOIN pg_class t ON t.oid = x.oid AND t.relkind NOT IN ('v', 'm') JOIN pg_namespace o ON o.oid = t.relnamespace
     LEFT JOIN LATERAL (
       SELECT m.tenant FROM mine m WHERE m.oid = t.relowner
       UNION SELECT s.tenant FROM schemas s WHERE s.sch = o.nspname
       UNION SELECT min(i.tenant) FROM inv i WHERE i.db = current_database() AND t.oid >= 16384
         HAVING count(DISTINCT i.tenant) = 1) w ON true
     WHERE x.view = c.oid), ARRAY['*']) AS tenants) whose
CROSS JOIN LATERAL (
  SELECT x.grantor, x.grantee, x.privilege_type FROM aclexplode(c.relacl) x
  UNION SELECT x.grantor, x.grantee, x.privilege_type FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) x
  WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL) a
WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384 AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') AND a.grantee <> c.relowner
  AND NOT coalesce(array_to_string(c.reloptions, ' ') ~* 'security_invoker=(true|on|1|yes|t|y)\M', false)
  AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
  AND NOT EXISTS (SELECT FROM mine x JOIN mine y USING (tenant) WHERE x.oid = c.relowner AND y.oid = a.grantee)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
  -- A tenant that reads what is its own, whoever made the view, reaches nobody.
  AND NOT (cardinality(whose.tenants) = 1 AND whose.tenants <> ARRAY['*'] AND CASE a.grantee
    WHEN 0 THEN NOT EXISTS (SELECT FROM inv i WHERE i.tenant <> ALL (whose.tenants))
    ELSE NOT EXISTS (SELECT FROM able x WHERE x.oid = a.grantee AND x.tenant <> ALL (whose.tenants)) END)
GROUP BY c.oid, n.nspname, c.relname, c.relkind, c.relowner, r.rolname, r.rolsuper, r.rolbypassrls, whose.tenants
