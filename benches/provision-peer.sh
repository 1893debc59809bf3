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

foreign=template1
for number in $(seq "$count"); do
  slug="shell-$number"
  name="shell_$number"
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

  id=$(curl --silent --show-error --fail --header "@$key" --header 'Content-Type: application/json' \
    --data "{\"name\":\"$slug\",\"slug\":\"$slug\",\"environment\":\"production\"}" \
    "$MULTI_TENANT_URL/v1/tenants" | jq -r .id)

  sql -c "CREATE ROLE ${name}_owner NOLOGIN" -c "COMMENT ON ROLE ${name}_owner IS 'tenant $id'"
  for login in a b; do
    sql -c "CREATE ROLE ${name}_$login NOLOGIN CONNECTION LIMIT 50" \
      -c "COMMENT ON ROLE ${name}_$login IS 'tenant $id'" \
      -c "GRANT ${name}_owner TO ${name}_$login" \
      -c "ALTER ROLE ${name}_$login SET role = '${name}_owner'" \
      -c "ALTER ROLE ${name}_$login SET statement_timeout = '60s'" \
      -c "ALTER ROLE ${name}_$login SET idle_in_transaction_session_timeout = '60s'"
  done
  sql -c "ALTER ROLE ${name}_a LOGIN PASSWORD '$password'"
  sql -c "CREATE DATABASE $name TEMPLATE template0"
  sql -c "COMMENT ON DATABASE $name IS 'tenant $id'" -c "REVOKE ALL ON DATABASE $name FROM PUBLIC" \
    -c "GRANT CONNECT, TEMPORARY ON DATABASE $name TO ${name}_owner, ${name}_a, ${name}_b"
  sql -d "$name" -c 'REVOKE ALL ON SCHEMA public FROM PUBLIC' -c "ALTER SCHEMA public OWNER TO ${name}_owner"

  PGPASSWORD=$password sql -U "${name}_a" -d "$name" -c 'CREATE TABLE probe ()' -c 'DROP TABLE probe'
  if [ "$foreign" != template1 ] && PGPASSWORD=$password sql -U "${name}_a" -d "$foreign" -c 'SELECT 1' 2>/dev/null; then
    printf '%s reaches %s\n' "$name" "$foreign" >&2
    exit 1
  fi
  foreign=$name

  publish tenant.created "$id" '{}'
  publish tenant.service.associated "$id" '{"service_name":"tracer"}'
  publish tenant.activated "$id" '{}'
  curl --silent --show-error --fail --output /dev/null --header "@$key" "$MULTI_TENANT_URL/v1/tenants/$id"
done
