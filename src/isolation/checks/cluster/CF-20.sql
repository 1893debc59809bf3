-- CF-20 · A statement timeout that was promised is not enforced
-- severity: medium
-- peach: hygiene
-- claim: A login whose association sets a statement timeout has that timeout as a setting of its role.
-- why: Products do not enforce it: they are told a number and hold it. Only the role's setting stops one
--   tenant's statement from holding what all need.
-- looks: pg_db_role_setting of every login with a timeout in its connections; a setting that is longer
--   than was promised, or is 0, does not count.
-- remedy: ALTER ROLE "acme_app" SET statement_timeout = '30s';
, promised AS (SELECT role, min(timeout) AS ms, array_agg(DISTINCT tenant) AS tenants FROM inv
  WHERE login AND timeout IS NOT NULL GROUP BY role),
said AS (
  SELECT r.rolname::text AS role, u.amount *
    CASE u.unit WHEN 'us' THEN 0.001 WHEN 's' THEN 1000 WHEN 'min' THEN 60000 WHEN 'h' THEN 3600000 WHEN 'd' THEN 86400000 ELSE 1 END AS ms
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN LATERAL unnest(s.setconfig) c
  CROSS JOIN LATERAL (SELECT substring(c from '^statement_timeout=([0-9.]+)')::numeric AS amount,
                             substring(c from '^statement_timeout=[0-9.]+ *([a-z]*)$') AS unit) u
  WHERE c LIKE 'statement_timeout=%')
SELECT NULL, ARRAY[p.role], p.tenants, 'role ' || p.role,
  'promised are ' || p.ms || ' ms, and its setting is ' || coalesce(max(s.ms)::bigint::text || ' ms', 'missing'),
  format('ALTER ROLE %I SET statement_timeout = %L;', p.role, p.ms || 'ms')
FROM promised p JOIN pg_roles r ON r.rolname = p.role LEFT JOIN said s ON s.role = p.role
GROUP BY p.role, p.ms, p.tenants
HAVING max(s.ms) IS NULL OR max(s.ms) > p.ms OR min(s.ms) = 0
