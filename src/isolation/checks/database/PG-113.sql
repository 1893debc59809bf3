-- PG-113 · A way out of the database is open
-- severity: high
-- peach: connectivity
-- claim: No tenant may use a foreign server, a foreign table, a user mapping, or the functions of an
--   extension that opens connections or files.
-- why: A mapping for PUBLIC let one tenant query as another through dblink, in a database that it could
--   not connect to (tried). The server does the connecting, so neither CONNECT nor the network between
--   products and database helps.
-- looks: pg_foreign_server with pg_user_mappings, and who may execute the functions of dblink,
--   postgres_fdw, file_fdw, pg_net, http, aws_s3, aws_lambda, adminpack and the like.
-- remedy: REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA "ext" FROM PUBLIC;
--   REVOKE USAGE ON FOREIGN SERVER "other" FROM PUBLIC;
--   DROP USER MAPPING FOR PUBLIC SERVER "other";
SELECT 'critical', ARRAY['PUBLIC'], ARRAY['*'], 'foreign server ' || s.srvname || ' of database ' || current_database(),
  'there is a user mapping for PUBLIC: whoever uses the server comes as that user',
  format(E'\\connect %I\nDROP USER MAPPING FOR PUBLIC SERVER %I;', current_database(), s.srvname)
FROM pg_foreign_server s JOIN pg_user_mappings u ON u.srvid = s.oid AND u.umuser = 0
UNION ALL
SELECT NULL, array_agg(DISTINCT r.rolname::text), ARRAY['*'], 'foreign server ' || s.srvname || ' of database ' || current_database(),
  'there is a user mapping for ' || string_agg(DISTINCT r.rolname, ', ') || ': a foreign table there needs no right on the server',
  format(E'\\connect %I\n', current_database()) || string_agg(DISTINCT format('DROP USER MAPPING FOR %I SERVER %I;', r.rolname, s.srvname), E'\n')
FROM pg_foreign_server s JOIN pg_user_mappings u ON u.srvid = s.oid JOIN pg_roles r ON r.oid = u.umuser
WHERE u.umuser IN (SELECT oid FROM able)
GROUP BY s.srvname
UNION ALL
SELECT NULL, CASE WHEN bool_or(a.grantee = 0) THEN ARRAY['PUBLIC'] ELSE array_agg(DISTINCT pg_get_userbyid(a.grantee)::text) END, ARRAY['*'],
  format('foreign table %I.%I of database %s', n.nspname, c.relname, current_database()), 'server ' || s.srvname || ' is read through it',
  format(E'\\connect %I\nDROP FOREIGN TABLE %I.%I;', current_database(), n.nspname, c.relname)
FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver JOIN pg_class c ON c.oid = f.ftrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT x.grantee FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x
  UNION SELECT x.grantee FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) x WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL) a
WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM able)
GROUP BY n.nspname, c.relname, s.srvname
UNION ALL
SELECT NULL, CASE WHEN bool_or(a.grantee = 0) THEN ARRAY['PUBLIC'] ELSE array_agg(DISTINCT pg_get_userbyid(a.grantee)::text) END, ARRAY['*'],
  'foreign-data wrapper ' || w.fdwname || ' of database ' || current_database(), 'servers of any address may be made with it',
  format(E'\\connect %I\n', current_database()) || string_agg(DISTINCT {revoke ALL ON FOREIGN DATA WRAPPER %I; a; w.fdwowner; w.fdwname}, E'\n')
FROM pg_foreign_data_wrapper w CROSS JOIN LATERAL aclexplode(coalesce(w.fdwacl, acldefault('F', w.fdwowner))) a
WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM able)
GROUP BY w.fdwname
UNION ALL
SELECT NULL, ARRAY[CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END], ARRAY['*'],
  'foreign server ' || s.srvname || ' of database ' || current_database(), a.privilege_type || ' is granted',
  format(E'\\connect %I\n', current_database()) || {revoke ALL ON FOREIGN SERVER %I; a; s.srvowner; s.srvname}
FROM pg_foreign_server s CROSS JOIN LATERAL aclexplode(coalesce(s.srvacl, acldefault('S', s.srvowner))) a
WHERE (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
UNION ALL
SELECT NULL, CASE WHEN bool_or(a.grantee = 0) THEN ARRAY['PUBLIC'] ELSE array_agg(DISTINCT pg_get_userbyid(a.grantee)::text) END, ARRAY['*'],
  'extension ' || e.extname || ' of database ' || current_database(),
  count(DISTINCT p.oid) || ' functions that reach out may be executed, for example ' || min(p.proname),
  format(E'\\connect %I\n', current_database())
    || string_agg(DISTINCT {revoke EXECUTE ON ROUTINE %s; a; p.proowner; p.oid::regprocedure}, E'\n')
FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.classid = 'pg_proc'::regclass
JOIN pg_proc p ON p.oid = d.objid
JOIN pg_namespace n ON n.oid = p.pronamespace
CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE (e.extname IN ('http', 'pg_net', 'aws_s3', 'aws_lambda', 'adminpack', 'plproxy')
    OR (e.extname = 'dblink' AND p.proname IN ('dblink', 'dblink_connect', 'dblink_connect_u', 'dblink_exec', 'dblink_open', 'dblink_send_query')))
  AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM able))
GROUP BY e.extname
