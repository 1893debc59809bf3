-- PG-030 · The server's log does not tell tenants apart, or tells too much of them
-- severity: info
-- peach: hygiene
-- claim: Each line of the log names role and database, and no statement is logged with its values.
-- why: Without names nobody can say whose statement it was; with values the log of one server holds
--   the data of all its tenants, and whoever reads logs reads them.
-- looks: log_line_prefix, which is noted where %u or %d is missing (PostgreSQL's own default has
--   neither), and log_statement, log_min_duration_statement and log_parameter_max_length, which are low.
-- remedy: ALTER SYSTEM SET log_line_prefix = '%m [%p] %q%u@%d ';
--   ALTER SYSTEM SET log_parameter_max_length = 0;
--   SELECT pg_reload_conf();
SELECT NULL, ARRAY[]::text[], ARRAY['*'], 'setting log_line_prefix',
  'it is ' || quote_literal(current_setting('log_line_prefix')) || ', without role or database',
  E'ALTER SYSTEM SET log_line_prefix = ''%m [%p] %q%u@%d '';\nSELECT pg_reload_conf();'
WHERE current_setting('log_line_prefix') !~ '%u' OR current_setting('log_line_prefix') !~ '%d'
UNION ALL
SELECT 'low', ARRAY[]::text[], ARRAY['*'], 'setting log_parameter_max_length',
  'statements of all tenants are logged with their values',
  E'ALTER SYSTEM SET log_parameter_max_length = 0;\nSELECT pg_reload_conf();'
WHERE current_setting('log_parameter_max_length')::int <> 0
  AND (current_setting('log_statement') IN ('mod', 'all') OR current_setting('log_min_duration_statement') = '0')
