#!/bin/sh
# Runs each service's migrations on the database that /run/secrets/<service>/database_url names.
set -eu
for service in auth certs audit catalog; do
    case $service in
        catalog) module=interlock_gateway.catalog ;;
        *) module=interlock_$service ;;
    esac
    echo "migrating $service"
    DATABASE_URL_FILE=/run/secrets/$service/database_url python -m "$module" migrate
done
