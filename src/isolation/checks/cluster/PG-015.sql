-- PG-015 · A tenant's login has a weak password verifier
-- severity: medium
-- peach: authentication
-- claim: The passwords of tenants' logins are kept as SCRAM-SHA-256 with at least 4096 rounds.
-- why: An MD5 verifier is as good as the password to whoever reads it, in a backup for instance.
-- looks: pg_authid, which only superusers may read; where it is refused, nothing is proved.
-- remedy: Set password_encryption = 'scram-sha-256', then give the login a new password
--   (`lerianctl tenant rotate acme`).
SELECT CASE WHEN a.rolpassword IS NULL THEN 'info' END,
  ARRAY[a.rolname::text], array_agg(DISTINCT i.tenant), 'role ' || a.rolname,
  CASE WHEN a.rolpassword IS NULL THEN 'it can log in and has no password'
       WHEN a.rolpassword LIKE 'md5%' THEN 'its verifier is MD5' ELSE 'its verifier has few rounds or a form that is not known' END,
  format(E'SET password_encryption = ''scram-sha-256'';\n\\password %I', a.rolname)
FROM inv i JOIN pg_authid a ON a.rolname = i.role
WHERE a.rolcanlogin AND (a.rolpassword IS NULL OR a.rolpassword NOT LIKE 'SCRAM-SHA-256$%'
  OR split_part(split_part(a.rolpassword, '$', 2), ':', 1)::int < 4096)
GROUP BY a.rolname, a.rolpassword
