-- PG-018 · Tenants see that others have sessions
-- severity: info
-- kind: limit
-- peach: hygiene
-- claim: A tenant learns nothing about the sessions of others.
-- why: PostgreSQL shows the database, the role and the application name of every session to everyone;
--   the text of queries and the client's address are masked (tried). No right takes this away.
-- looks: It is so on every PostgreSQL. The real control is to put no customer's name into roles,
--   databases and application_name.
-- remedy: Names that do not speak: see PG-019.
SELECT NULL, ARRAY['PUBLIC'], ARRAY['*'], 'pg_stat_activity',
  'database, role and application name of every session are visible to every login', ''
WHERE (SELECT count(DISTINCT tenant) FROM inv) > 1
