#!/usr/bin/env bash
# The peer of benches/provision.rs: tenants made by a plain loop of psql, curl and redis-cli.
#
#   provision-peer.sh COUNT      PG*, MULTI_TENANT_* as benches/provision.rs sets them
#
# It does what `lerianctl tenant create` does for one service in database mode, the way one writes
# it by hand: roles, limits, marks, database, privileges, the proof that the new login reaches its
# own and is refused elsewhere, the registry, and the events.
set -euo pipefail

count=${1:?usage: provision-peer.sh COUNT}
export REDISCLI_AUTH=${MULTI_TENANT_REDIS_PASSWORD-}
redis() { redis-cli --no-auth-warning -h "$MULTI_TENANT_REDIS_HOST" -p "$MULTI_TENANT_REDIS_PORT" "$@" >/dev/null; }
sql() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }
key=$(mktemp)
trap 'rm -f "$key"' EXIT
printf 'X-API-Key: %s\n' "$MULTI_TENANT_SERVICE_API_KEY" >"$key"

publish() { # publish TYPE TENANT PAYLOAD
  redis PUBLISH tenant-events:production: \
    "{\"event_id\":\"$RANDOM$RANDOM\",\"event_type\":\"$1\",\"timestamp\":\"$(date -u +%FT%TZ)\",\"tenant_id\":\"$2\",\"tenant_slug\":\"$slug\",\"environment\":\"production\",\"payload\":$3}"
}

sql -c 'CREATE ROLE shell_databases NOLOGIN'
foreign=''
for number in $(seq "$count"); do
  slug="shell-$number"
  name="shell_$number"
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

  id=$(curl --silent --show-error --fail --header "@$key" --header 'Content-Type: application/json' \
    --data "{\"name\":\"$slug\",\"slug\":\"$slug\",\"environment\":\"production\",\"isolation\":\"database\",\"owner\":{\"email\":\"owner@tenant.example\"}}" \
    "$MULTI_TENANT_URL/v1/tenants" | jq -r .id)
  mark="tenant $id"

  # Nothing that is there already is touched.
  found=$(sql -At -c "SELECT count(*) FROM pg_roles WHERE rolname LIKE '${name}\\_%'" \
    -c "SELECT count(*) FROM pg_database WHERE datname = '$name'")
  [ "$found" = $'0\n0' ] || {
    printf '%s exists\n' "$name" >&2
    exit 1
  }

  sql <<SQL
CREATE ROLE ${name}_owner NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE;
COMMENT ON ROLE ${name}_owner IS '$mark';
CREATE ROLE ${name}_a INHERIT LOGIN CONNECTION LIMIT 400 PASSWORD '$password';
COMMENT ON ROLE ${name}_a IS '$mark';
CREATE ROLE ${name}_b INHERIT NOLOGIN CONNECTION LIMIT 400;
COMMENT ON ROLE ${name}_b IS '$mark';
GRANT ${name}_owner TO ${name}_a, ${name}_b;
ALTER ROLE ${name}_a SET role = '${name}_owner';
ALTER ROLE ${name}_a SET idle_in_transaction_session_timeout = '5min';
ALTER ROLE ${name}_b SET role = '${name}_owner';
ALTER ROLE ${name}_b SET idle_in_transaction_session_timeout = '5min';
SQL
  sql -c "CREATE DATABASE $name OWNER shell_databases TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false"
  sql <<SQL
COMMENT ON DATABASE $name IS '$mark';
REVOKE ALL ON DATABASE $name FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE $name TO ${name}_owner;
ALTER DATABASE $name ALLOW_CONNECTIONS true CONNECTION LIMIT 800;
SQL
  sql -d "$name" <<SQL
ALTER SCHEMA public OWNER TO ${name}_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE ${name}_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE ${name}_owner REVOKE USAGE ON TYPES FROM PUBLIC;
SQL

  # The new login reaches its own, the idle one nothing, and neither of them another tenant's.
  PGPASSWORD=$password sql -U "${name}_a" -d "$name" -c 'CREATE TABLE probe ()' -c 'DROP TABLE probe'
  for door in "${name}_b $name" ${foreign:+"${name}_a $foreign"}; do
    read -r login database <<<"$door"
    if PGPASSWORD=$password sql -U "$login" -d "$database" -c 'SELECT 1' >/dev/null 2>&1; then
      printf '%s reaches %s\n' "$login" "$database" >&2
      exit 1
    fi
  done
  foreign=$name

  publish tenant.created "$id" '{}'
  publish tenant.service.associated "$id" '{"service_name":"tracer"}'
  publish tenant.activated "$id" '{}'
  curl --silent --show-error --fail --output /dev/null --header "@$key" "$MULTI_TENANT_URL/v1/tenants/$id"
done
