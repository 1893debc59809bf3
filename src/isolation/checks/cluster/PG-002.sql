-- PG-002 · A tenant's login may connect to another tenant's database
-- severity: critical
-- peach: privilege
-- claim: No tenant's login holds CONNECT on a database that is not its own, by itself, through any
--   chain of memberships, or through PUBLIC.
-- why: CONNECT is the outermost wall. Behind it stand only the grants inside the database, and those
--   are written by every migration.
-- looks: The closure of pg_auth_members from every tenant's login, joined with every holder of
--   CONNECT, owners and PUBLIC included. All pairs are looked at, none is sampled.
-- remedy: Break the path that the finding names: revoke the right from the role where the path ends,
--   or the membership that leads there.
--   REVOKE CONNECT ON DATABASE "borealis" FROM "acme_app";
, start AS (
  SELECT DISTINCT i.tenant, r.oid, r.rolname::text AS name FROM inv i JOIN pg_roles r ON r.rolname = i.role WHERE i.login),
reach(tenant, role, path) AS (
  SELECT tenant, oid, ARRAY[name] FROM start
  UNION ALL
  -- One way to each membership is enough: all of them would be too many where groups are in groups.
  SELECT DISTINCT ON (reach.tenant, reach.path[1], reach.role, m.roleid) reach.tenant, m.roleid, reach.path || r.rolname::text
  FROM reach JOIN edges m ON m.member = reach.role JOIN pg_roles r ON r.oid = m.roleid
  WHERE r.rolname <> ALL (reach.path)),
own AS (SELECT DISTINCT tenant, db FROM inv),
grants AS (
  SELECT d.datname, a.grantor, a.grantee, d.datdba FROM pg_database d
  CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
  WHERE a.privilege_type = 'CONNECT' AND d.datname IN (SELECT db FROM own)),
-- Whoever closes a database lets its own tenants in again.
opened AS (
  SELECT db, string_agg(format(E'\nGRANT CONNECT ON DATABASE %I TO %I;', db, role), '' ORDER BY role) AS again
  FROM (SELECT DISTINCT db, role FROM inv WHERE login) i GROUP BY db),
owners AS (SELECT role, array_agg(DISTINCT tenant) AS tenants FROM inv GROUP BY role)
SELECT NULL, ARRAY['PUBLIC'], ARRAY(SELECT tenant FROM own WHERE own.db = g.datname ORDER BY 1),
  'database ' || g.datname, 'PUBLIC has CONNECT, so every login of the cluster may enter',
  string_agg(DISTINCT {revoke CONNECT ON DATABASE %I; g; g.datdba; g.datname}, E'\n')
    || coalesce((SELECT again FROM opened WHERE db = g.datname), '')
FROM grants g
WHERE g.grantee = 0 AND EXISTS (
  SELECT FROM start s WHERE NOT EXISTS (SELECT FROM own WHERE own.tenant = s.tenant AND own.db = g.datname))
GROUP BY g.datname
UNION ALL
SELECT NULL, array_agg(DISTINCT reach.path[1]),
  ARRAY(SELECT tenant FROM own WHERE own.db = g.datname ORDER BY 1), 'database ' || g.datname,
  min(array_to_string(reach.path, ' -> ')) || ' -> CONNECT' ||
    CASE WHEN g.grantee = g.datdba THEN ' (as its owner)' ELSE '' END,
  string_agg(DISTINCT CASE
    WHEN cut.at < cardinality(reach.path)
      THEN {leave to_regrole(quote_ident(reach.path[cut.at])); to_regrole(quote_ident(reach.path[cut.at + 1]))}
    WHEN g.grantee = g.datdba THEN format('ALTER DATABASE %I OWNER TO CURRENT_USER;', g.datname)
    ELSE {revoke ALL ON DATABASE %I; g; g.datdba; g.datname} ||
      CASE WHEN reach.path[cut.at] IN (SELECT role FROM owners) THEN ''
           ELSE coalesce((SELECT again FROM opened WHERE db = g.datname), '') END END, E'\n')
FROM reach JOIN grants g ON g.grantee = reach.role
-- The right is taken from the role where the path ends; where that is one of another tenant, the path
-- is cut before it comes to that tenant.
CROSS JOIN LATERAL (
  SELECT max(at) AS at FROM generate_subscripts(reach.path, 1) at
  WHERE NOT EXISTS (SELECT FROM owners w WHERE w.role = reach.path[at] AND reach.tenant <> ALL (w.tenants))) cut
WHERE NOT EXISTS (SELECT FROM own WHERE own.tenant = reach.tenant AND own.db = g.datname)
GROUP BY g.datname, g.grantee, g.datdba
