-- PG-123 · Rights on the server's own functions or catalogues are granted
-- severity: high
-- peach: privilege
-- claim: No tenant has a right on a built-in function or catalogue, or on a function of an extension,
--   that a new server or the extension does not give to everyone.
-- why: pg_read_file reads the files of every database, pg_terminate_backend with the right to call it for
--   others ends their sessions, and pg_authid holds everybody's password verifiers. A new server keeps
--   them to itself; one GRANT, often meant for monitoring, opens them to a tenant, and no check of the
--   tenants' own objects would see it.
-- looks: The ACL of every function and relation of pg_catalog, with those of
--   columns, against what stood there when the server was made (pg_init_privs), and the ACL of every
--   function that an extension keeps to itself, of pg_walinspect for example. In every database of
--   tenants, and in the one where the auditor logs in.
-- remedy: REVOKE ALL ON FUNCTION pg_catalog.pg_read_file(text) FROM "acme_app";
--   REVOKE ALL ON TABLE pg_catalog.pg_authid FROM "acme_app";
, granted AS (
  SELECT 'ROUTINE' AS kind, p.oid::regprocedure::text AS object, p.proname::text AS name, NULL::text AS columns, p.proowner AS owner, a.grantor, a.grantee, a.privilege_type, i.initprivs
  FROM pg_init_privs i JOIN pg_proc p ON p.oid = i.objoid AND (i.privtype = 'e' OR p.pronamespace = 'pg_catalog'::regnamespace)
  CROSS JOIN LATERAL aclexplode(p.proacl) a
  WHERE i.classoid = 'pg_proc'::regclass AND a.grantee <> p.proowner
    -- Those that open connections are left to PG-113.
    AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                    AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname IN ('dblink', 'adminpack'))
  UNION ALL
  SELECT 'TABLE', format('%I.%I', n.nspname, c.relname), c.relname::text, NULL, c.relowner, a.grantor, a.grantee, a.privilege_type, i.initprivs
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pg_catalog'
  LEFT JOIN pg_init_privs i ON i.objoid = c.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = 0
  CROSS JOIN LATERAL aclexplode(c.relacl) a
  WHERE a.grantee <> c.relowner
  UNION ALL
  SELECT 'TABLE', format('%I.%I', n.nspname, c.relname), c.relname::text, quote_ident(t.attname), c.relowner, a.grantor, a.grantee, a.privilege_type, i.initprivs
  FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pg_catalog'
  LEFT JOIN pg_init_privs i ON i.objoid = c.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = t.attnum
  CROSS JOIN LATERAL aclexplode(t.attacl) a
  WHERE t.attacl IS NOT NULL AND a.grantee <> c.relowner)
SELECT CASE WHEN g.name IN ('pg_authid', 'pg_shadow', 'pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject', 'pg_user_mapping',
                            'pg_subscription', 'pg_read_file', 'pg_read_binary_file', 'pg_execute_server_program', 'lo_import', 'lo_export',
                            'pg_file_write', 'pg_file_rename', 'pg_file_unlink')
              OR g.kind = 'TABLE' AND bool_or(g.privilege_type <> 'SELECT') THEN 'critical' END,
  ARRAY[CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END], ARRAY['*'],
  CASE g.kind WHEN 'ROUTINE' THEN 'function ' ELSE 'catalogue ' END || g.object || coalesce('.' || g.columns, '') || ' of database ' || current_database(),
  string_agg(DISTINCT g.privilege_type, ', ') || ' is granted to ' || CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END,
  format(E'\\connect %I\n', current_database())
    || string_agg(DISTINCT {revoke ALL%s ON %s %s; g; g.owner; coalesce(' (' || g.columns || ')', ''); g.kind; g.object}, E'\n')
FROM granted g
WHERE (g.grantee = 0 OR g.grantee IN (
    SELECT x.oid FROM able x WHERE (SELECT q.rolname !~ '^pg_' FROM pg_roles q WHERE q.oid = x.oid)))
  AND NOT EXISTS (SELECT FROM aclexplode(g.initprivs) w WHERE w.grantee = g.grantee AND w.privilege_type = g.privilege_type)
GROUP BY g.kind, g.object, g.name, g.columns, g.grantee
