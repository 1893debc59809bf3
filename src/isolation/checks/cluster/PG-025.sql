-- PG-025 · A session outlives the login that it was opened with
-- severity: high
-- peach: authentication
-- claim: No tenant has a session of a role that may not log in any more.
-- why: NOLOGIN, an expiry and a new password stop the next login; who is in stays in, with the rights of
--   the day before (tried). A leaked password is not dealt with until its sessions are ended.
-- looks: pg_stat_activity for the roles of active tenants with NOLOGIN or an expiry that is over. A
--   password that was changed without closing the login leaves no time in the catalogues.
-- remedy: SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'acme_app_a';
SELECT NULL, ARRAY[r.rolname::text], array_agg(DISTINCT i.tenant), 'role ' || r.rolname,
  count(DISTINCT a.pid) || ' sessions, and it may not log in any more',
  format('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %L;', r.rolname)
FROM inv i JOIN pg_roles r ON r.rolname = i.role JOIN pg_stat_activity a ON a.usesysid = r.oid
WHERE i.status = 'active' AND coalesce(a.backend_type, 'client backend') = 'client backend' AND a.pid <> pg_backend_pid()
  AND (NOT r.rolcanlogin OR r.rolvaliduntil < now())
GROUP BY r.rolname
