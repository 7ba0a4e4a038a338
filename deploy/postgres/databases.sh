#!/bin/sh
# Runs once, on an empty data folder: a database per service, owned by a role that may connect to no other.
# psql reads the passwords itself, so that none is in an argument or in the log.
set -eu
for service in auth certs audit catalog; do
    psql --set ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname postgres \
        --set service="$service" --set file="/run/secrets/${service}_password" <<'SQL'
\set password `cat :'file'`
CREATE ROLE :"service" LOGIN PASSWORD :'password' CONNECTION LIMIT 50;
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
psql --set ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname postgres <<'SQL'
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
SQL
