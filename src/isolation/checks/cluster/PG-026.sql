-- PG-026 · The server has a known hole that tenants share
-- severity: high
-- peach: hygiene
-- claim: The server has the fixes for the published holes that let one login reach another's data.
-- why: Grants do not hold where the server does not enforce them. CVE-2018-1058 and CVE-2026-6472
--   (objects on the search path), CVE-2024-4317 and CVE-2025-8713 (statistics tell values past
--   policies), CVE-2024-10976 (policies of another role), CVE-2025-8714 and CVE-2025-8715 (code in a
--   dump runs at restore).
-- looks: server_version_num, by major version. Versions without support are findings of their own.
-- remedy: Update to the latest minor version; for CVE-2024-4317 also run fix-CVE-2024-4317.sql in
--   every database.
, version AS (SELECT current_setting('server_version_num')::int AS num),
fixed(major, least, cves) AS (VALUES
  (18, 180004, 'CVE-2026-6472'), (17, 170010, 'CVE-2026-6472, CVE-2025-8713, CVE-2025-8714'),
  (16, 160014, 'CVE-2026-6472, CVE-2025-8713, CVE-2025-8714'), (15, 150018, 'CVE-2026-6472, CVE-2025-8713, CVE-2025-8714'),
  (14, 140023, 'CVE-2026-6472, CVE-2025-8713, CVE-2025-8714'))
SELECT CASE WHEN f.major IS NULL THEN 'medium' END, ARRAY['PUBLIC'], ARRAY['*'],
  'PostgreSQL ' || current_setting('server_version'),
  coalesce('it lacks the fix for ' || f.cves, 'this major version gets no fixes any more'),
  '-- update to ' || coalesce(f.major || '.' || (f.least % 10000), 'a version that is maintained')
FROM version v LEFT JOIN fixed f ON f.major = v.num / 10000
WHERE (f.major IS NULL AND v.num < 140000) OR v.num < f.least
