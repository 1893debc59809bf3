-- PG-014 · The rules for hosts let logins in without a good password
-- severity: high
-- peach: connectivity
-- claim: No rule for network connections trusts, sends passwords in clear, or is in error.
-- why: With `trust` the name of another tenant's login is enough. In the ExtraReplica disclosure a rule
--   that was too loose opened replication across customers.
-- looks: pg_hba_file_rules. Only superusers and roles that were granted it may read it; where the check
--   is refused it proves nothing, and PG-217 tries a wrong password at least.
-- remedy: Write `scram-sha-256` in the line of pg_hba.conf that the finding names, then
--   SELECT pg_reload_conf();
SELECT CASE WHEN h.error IS NOT NULL THEN 'medium' WHEN h.auth_method = 'trust' THEN 'critical' END,
  ARRAY['PUBLIC'], ARRAY['*'], 'pg_hba.conf line ' || h.line_number,
  CASE WHEN h.error IS NOT NULL THEN 'the line is in error: ' || h.error
       ELSE concat_ws(' ', h.type, array_to_string(h.database, ','), array_to_string(h.user_name, ','), h.address, h.auth_method) END,
  '-- in pg_hba.conf: scram-sha-256 in that line; then:' || E'\nSELECT pg_reload_conf();'
FROM pg_hba_file_rules h
WHERE h.error IS NOT NULL OR (h.type LIKE 'host%' AND h.auth_method IN ('trust', 'password', 'md5', 'ident'))
   OR (h.type = 'local' AND h.auth_method = 'trust'
       -- An administrator may come in from the machine itself.
       AND NOT h.user_name <@ ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.rolsuper))
