-- PG-010 · Something was put into template1
-- severity: high
-- peach: hygiene
-- claim: template1 holds nothing that a role of this cluster made.
-- why: Every database that is made later is a copy of it, with whatever lies there.
-- looks: Ownerships and grants in template1 that pg_shdepend records, from outside. What a superuser
--   made does not stand there: an auditor counts it in a session of one statement inside of template1,
--   for which whoever creates a database at that moment waits.
-- remedy: Look at it, drop it, and make databases from template0:
--   CREATE DATABASE "acme" TEMPLATE template0;
SELECT NULL, ARRAY[r.rolname::text], ARRAY['*'], 'database template1',
  r.rolname || ' has ' || count(*) || ' objects or grants of ' || s.classid::regclass::text || ' there',
  format(E'\\connect template1\nDROP OWNED BY %I;', r.rolname)
FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid
WHERE d.datname = 'template1' AND s.refclassid = 'pg_authid'::regclass AND s.deptype IN ('o', 'a')
GROUP BY r.rolname, s.classid
