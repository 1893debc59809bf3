-- PG-012 · A tenant that is not served can still log in
-- severity: high
-- peach: authentication
-- claim: The roles of purged tenants are gone or closed, and have no session.
-- why: Sessions outlive NOLOGIN and a changed password (tried); they have to be ended.
-- looks: rolcanlogin and pg_stat_activity for the roles of tenants that are not active. A suspended
--   tenant whose login is open is noted: products refuse it, PostgreSQL does not.
-- remedy: ALTER ROLE "acme_app" NOLOGIN PASSWORD NULL;
--   SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'acme_app';
SELECT CASE WHEN i.status = 'suspended' THEN 'info' END,
  ARRAY[r.rolname::text], array_agg(DISTINCT i.tenant), 'role ' || r.rolname,
  'the tenant is ' || i.status || ', and its role ' || CASE WHEN r.rolcanlogin THEN 'can log in' ELSE 'is closed' END
    || CASE WHEN s.sessions > 0 THEN ', with ' || s.sessions || ' open sessions' ELSE '' END,
  format(E'ALTER ROLE %I NOLOGIN PASSWORD NULL;\nSELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %L;', r.rolname, r.rolname)
FROM inv i JOIN pg_roles r ON r.rolname = i.role
CROSS JOIN LATERAL (SELECT count(*) AS sessions FROM pg_stat_activity a WHERE a.usename = r.rolname
                    AND a.pid <> pg_backend_pid() AND i.status <> 'active') s
WHERE i.status <> 'active' AND (r.rolcanlogin OR s.sessions > 0)
GROUP BY r.rolname, r.rolcanlogin, i.status, s.sessions
