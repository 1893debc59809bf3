-- PG-024 · A tenant's session crosses the network in clear
-- severity: high
-- peach: encryption
-- claim: Every session of a tenant that comes over the network is encrypted.
-- why: Whoever sees the packets sees the rows, and can put in others.
-- looks: pg_stat_ssl for the sessions of the tenants' roles. Unix sockets and loopback do not count.
--   Without pg_monitor the addresses of others are hidden, and then it is unproven.
-- remedy: Hand out sslmode=verify-full, and write hostssl instead of host in pg_hba.conf.
SELECT NULL, ARRAY[a.usename::text], array_agg(DISTINCT i.tenant), 'role ' || a.usename,
  count(DISTINCT a.pid) || ' sessions without TLS, from ' || min(host(a.client_addr)),
  '-- hand out sslmode=verify-full; in pg_hba.conf hostssl instead of host'
FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) JOIN inv i ON i.role = a.usename
WHERE a.backend_type = 'client backend' AND NOT s.ssl AND a.client_addr IS NOT NULL
  AND NOT a.client_addr <<= inet '127.0.0.0/8' AND a.client_addr <> inet '::1'
GROUP BY a.usename
