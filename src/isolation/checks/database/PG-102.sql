-- PG-102 · An object of a tenant is granted to others
-- severity: critical
-- peach: privilege
-- mode: schema
-- claim: Tables, columns, sequences, functions and types in a tenant's schema are granted to the
--   tenant's own roles only.
-- why: These grants wait for USAGE on the schema: the day somebody grants that, they all open.
--   Grants on single columns are what table-level tools do not see.
-- looks: relacl, attacl, proacl and typacl of everything in the tenants' schemas. Functions and types
--   that PUBLIC may use by default, in a schema that PUBLIC cannot enter, cannot be named and are left
--   out.
-- remedy: REVOKE ALL ON TABLE "borealis"."account" FROM "acme_app";
, reachable AS (
  SELECT n.oid FROM pg_namespace n
  CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
  WHERE a.grantee = 0 AND a.privilege_type = 'USAGE' AND n.nspname IN (SELECT sch FROM schemas)),
held AS MATERIALIZED (
  SELECT n.oid AS nsp, t.tenant, n.nspname FROM pg_namespace n JOIN schemas t ON t.sch = n.nspname),
granted AS (
  SELECT h.tenant, CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
    format('%I.%I', h.nspname, c.relname) AS object, NULL::text AS columns, c.relowner AS owner, a.grantor, a.grantee, a.privilege_type
  FROM pg_class c JOIN held h ON h.nsp = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a
  UNION ALL
  SELECT h.tenant, 'COLUMN', format('%I.%I', h.nspname, c.relname), quote_ident(t.attname), c.relowner, a.grantor, a.grantee, a.privilege_type
  FROM pg_class c JOIN held h ON h.nsp = c.relnamespace JOIN pg_attribute t ON t.attrelid = c.oid AND t.attacl IS NOT NULL
  CROSS JOIN LATERAL aclexplode(t.attacl) a
  UNION ALL
  SELECT h.tenant, 'ROUTINE', format('%I.%I(%s)', h.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), NULL, p.proowner, a.grantor, a.grantee, a.privilege_type
  FROM pg_proc p JOIN held h ON h.nsp = p.pronamespace CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  WHERE a.grantee <> 0 OR h.nsp IN (SELECT oid FROM reachable)
  UNION ALL
  SELECT h.tenant, 'TYPE', format('%I.%I', h.nspname, y.typname), NULL, y.typowner, a.grantor, a.grantee, a.privilege_type
  FROM pg_type y JOIN held h ON h.nsp = y.typnamespace CROSS JOIN LATERAL aclexplode(y.typacl) a
  WHERE a.grantee <> 0 OR h.nsp IN (SELECT oid FROM reachable))
SELECT CASE g.kind WHEN 'ROUTINE' THEN 'high' WHEN 'SEQUENCE' THEN 'high' WHEN 'TYPE' THEN 'medium' END,
  ARRAY[CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END], ARRAY[g.tenant],
  lower(g.kind) || ' ' || g.object || coalesce('.' || g.columns, '') || ' of database ' || current_database(),
  string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type) || ' is granted to '
    || CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END,
  format(E'\\connect %I\n', current_database())
    || string_agg(DISTINCT {revoke ALL%s ON %s %s; g; g.owner; coalesce(' (' || g.columns || ')', ''); CASE WHEN g.kind = 'COLUMN' THEN 'TABLE' ELSE g.kind END; g.object}, E'\n')
FROM granted g LEFT JOIN mine own ON own.tenant = g.tenant AND own.oid = g.grantee
LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee <> g.owner AND own.oid IS NULL AND NOT coalesce(r.rolsuper, false)
GROUP BY g.tenant, g.kind, g.object, g.columns, g.grantee
LIMIT 2000
