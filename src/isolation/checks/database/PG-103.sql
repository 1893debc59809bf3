-- PG-103 · Objects of two tenants depend on each other
-- severity: critical
-- peach: privilege
-- mode: schema
-- claim: No view, rule, inheritance, foreign key, default, policy, trigger, routine or type joins the
--   schemas of two tenants, or a shared schema to a tenant's.
-- why: A view reads with its owner's rights, whoever asks; a partition writes where its parent says. And
--   two tenants that are tied together cannot be moved, restored or purged one at a time.
-- looks: pg_constraint, pg_inherits, pg_rewrite, pg_attrdef, pg_policy and pg_trigger with pg_depend:
--   edges whose two ends lie in schemas of different tenants. A sequence of a shared schema counts when
--   tables of several tenants draw from it.
-- remedy: DROP VIEW "reports"."everyone";   -- and ask each tenant for its own
, edge(kind, source, target) AS (
  SELECT 'foreign key', conrelid, confrelid FROM pg_constraint WHERE contype = 'f'
  UNION ALL SELECT 'inheritance', inhrelid, inhparent FROM pg_inherits
  UNION ALL SELECT 'parent', inhparent, inhrelid FROM pg_inherits
  UNION ALL SELECT DISTINCT 'view', r.ev_class, d.refobjid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
  UNION ALL SELECT DISTINCT 'default', a.adrelid, d.refobjid FROM pg_depend d JOIN pg_attrdef a ON a.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> a.adrelid
  UNION ALL SELECT DISTINCT 'policy', p.polrelid, d.refobjid FROM pg_depend d JOIN pg_policy p ON p.oid = d.objid
    WHERE d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> p.polrelid),
placed AS (
  SELECT e.kind, format('%I.%I', ns.nspname, cs.relname) AS source, format('%I.%I', nt.nspname, ct.relname) AS target,
    ns.nspname AS source_schema, nt.nspname AS target_schema, cs.relkind, cs.relowner, ct.relowner AS target_owner
  FROM edge e JOIN pg_class cs ON cs.oid = e.source JOIN pg_namespace ns ON ns.oid = cs.relnamespace
  JOIN pg_class ct ON ct.oid = e.target JOIN pg_namespace nt ON nt.oid = ct.relnamespace
  WHERE ns.nspname <> nt.nspname
  UNION ALL
  SELECT 'trigger', format('%I.%I', n.nspname, c.relname), p.oid::regprocedure::text, n.nspname, pronsp.nspname, c.relkind, c.relowner, p.proowner
  FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace pronsp ON pronsp.oid = p.pronamespace
  WHERE NOT g.tgisinternal AND n.nspname <> pronsp.nspname
  UNION ALL
  -- A routine whose body is parsed, or that has types of another: what it needs is in the catalogue.
  SELECT DISTINCT 'routine', p.oid::regprocedure::text, coalesce(c.oid::regclass::text, q.oid::regprocedure::text, y.oid::regtype::text),
    procns.nspname, n.nspname, 'f'::"char", p.proowner, coalesce(c.relowner, q.proowner, y.typowner)
  FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace procns ON procns.oid = p.pronamespace
  LEFT JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
  LEFT JOIN pg_proc q ON d.refclassid = 'pg_proc'::regclass AND q.oid = d.refobjid
  LEFT JOIN pg_type y ON d.refclassid = 'pg_type'::regclass AND y.oid = d.refobjid
  JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, q.pronamespace, y.typnamespace)
  WHERE d.classid = 'pg_proc'::regclass AND d.objid >= 16384 AND d.refobjid >= 16384 AND n.nspname <> procns.nspname
  UNION ALL
  -- A view, a default, a policy, a constraint or an index that calls a routine of another.
  SELECT DISTINCT 'call', format('%I.%I', ns.nspname, s.relname), p.oid::regprocedure::text, ns.nspname, procns.nspname, s.relkind, s.relowner, p.proowner
  FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace procns ON procns.oid = p.pronamespace
  LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
  LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
  LEFT JOIN pg_policy o ON d.classid = 'pg_policy'::regclass AND o.oid = d.objid
  LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
  JOIN pg_class s ON s.oid = coalesce(w.ev_class, f.adrelid, o.polrelid, nullif(k.conrelid, 0), CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END)
  JOIN pg_namespace ns ON ns.oid = s.relnamespace
  WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384 AND ns.nspname <> procns.nspname
  UNION ALL
  -- What is no table and calls: a type, the rule of a domain, an operator, a cast, which has no place but that of its type.
  SELECT DISTINCT 'call', coalesce(y.oid::regtype::text, o.oid::regoperator::text), p.oid::regprocedure::text, n.nspname, np.nspname, 'd'::"char",
    coalesce(y.typowner, o.oprowner), p.proowner
  FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace np ON np.oid = p.pronamespace
  LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
  LEFT JOIN pg_operator o ON d.classid = 'pg_operator'::regclass AND o.oid = d.objid
  LEFT JOIN pg_cast a ON d.classid = 'pg_cast'::regclass AND a.oid = d.objid
  LEFT JOIN pg_type y ON y.oid = coalesce(nullif(k.contypid, 0), CASE WHEN a.castsource >= 16384 THEN a.castsource ELSE a.casttarget END,
    CASE WHEN d.classid = 'pg_type'::regclass THEN d.objid END)
  JOIN pg_namespace n ON n.oid = coalesce(y.typnamespace, o.oprnamespace)
  WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384 AND d.objid >= 16384 AND np.nspname <> n.nspname
  UNION ALL
  SELECT DISTINCT 'type', s.oid::regtype::text, y.oid::regtype::text, ns.nspname, n.nspname, 'd'::"char", s.typowner, y.typowner
  FROM pg_depend d JOIN pg_type s ON s.oid = d.objid JOIN pg_namespace ns ON ns.oid = s.typnamespace
  JOIN pg_type y ON y.oid = d.refobjid JOIN pg_namespace n ON n.oid = y.typnamespace
  WHERE d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_type'::regclass AND d.refobjid >= 16384 AND ns.nspname <> n.nspname
  UNION ALL
  SELECT DISTINCT 'column', format('%I.%I', ns.nspname, s.relname), y.oid::regtype::text, ns.nspname, n.nspname, s.relkind, s.relowner, y.typowner
  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid JOIN pg_namespace ns ON ns.oid = s.relnamespace
  JOIN pg_type y ON y.oid = d.refobjid JOIN pg_namespace n ON n.oid = y.typnamespace
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_type'::regclass AND d.refobjid >= 16384 AND ns.nspname <> n.nspname)
SELECT CASE WHEN p.kind NOT IN ('view', 'inheritance', 'parent') THEN 'high' END,
  ARRAY[pg_get_userbyid(p.relowner)::text], ARRAY[b.tenant] || CASE WHEN a.tenant IS NULL THEN ARRAY[]::text[] ELSE ARRAY[a.tenant] END,
  p.kind || ' ' || p.source || ' of database ' || current_database(),
  p.source || ' (' || coalesce('tenant ' || a.tenant, 'shared') || ') -> ' || p.target || ' (tenant ' || b.tenant || ')',
  format(E'\\connect %I\n', current_database()) || CASE
    WHEN p.kind = 'view' THEN format('DROP %s %s;', CASE p.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'v' THEN 'VIEW' ELSE 'RULE … ON' END, p.source)
    WHEN p.kind = 'inheritance' THEN format('ALTER TABLE %s NO INHERIT %s;', p.source, p.target)
    WHEN p.kind = 'parent' THEN format('ALTER TABLE %s %s;', CASE p.relkind WHEN 'p' THEN p.source ELSE p.target END,
      CASE p.relkind WHEN 'p' THEN 'DETACH PARTITION ' || p.target ELSE 'NO INHERIT ' || p.source END)
    WHEN p.kind = 'foreign key' THEN format('ALTER TABLE %s DROP CONSTRAINT …;', p.source)
    WHEN p.kind = 'default' THEN format('ALTER TABLE %s ALTER COLUMN … DROP DEFAULT;', p.source)
    WHEN p.kind IN ('routine', 'call', 'column', 'type') THEN format('-- look at %s', p.source)
    WHEN p.kind = 'policy' THEN format('DROP POLICY … ON %s;', p.source)
    ELSE format('DROP TRIGGER … ON %s;', p.source) END
FROM placed p LEFT JOIN schemas a ON a.sch = p.source_schema JOIN schemas b ON b.sch = p.target_schema
WHERE a.tenant IS DISTINCT FROM b.tenant
  -- Who reads the parent reads what is beneath; between two tenants the child says so already.
  AND (p.kind <> 'parent' OR a.tenant IS NULL)
UNION ALL
-- One sequence of nobody that several draw from: each sees in the gaps what the others use.
SELECT 'high', array_agg(DISTINCT pg_get_userbyid(c.relowner)::text), array_agg(DISTINCT s.tenant),
  format('sequence %I.%I of database %s', n.nspname, q.relname, current_database()),
  'tables of ' || count(DISTINCT s.tenant) || ' tenants draw from it, ' || min(c.oid::regclass::text) || ' for example',
  format(E'\\connect %I\n-- a sequence for each of them:\nALTER TABLE %s ALTER COLUMN … DROP DEFAULT;', current_database(), min(c.oid::regclass::text))
FROM edge e JOIN pg_class q ON q.oid = e.target AND q.relkind = 'S' JOIN pg_namespace n ON n.oid = q.relnamespace
JOIN pg_class c ON c.oid = e.source JOIN pg_namespace o ON o.oid = c.relnamespace JOIN schemas s ON s.sch = o.nspname
WHERE e.kind = 'default' AND n.nspname NOT IN (SELECT sch FROM schemas)
GROUP BY n.nspname, q.relname HAVING count(DISTINCT s.tenant) > 1
LIMIT 2000
