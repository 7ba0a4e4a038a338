#!/bin/sh
# The secrets of a compose deployment, one folder (a volume) for each service that may read them.
#   secrets ensure         writes what is missing, random; what is there is kept
#   secrets put <name>     stores standard input, say: printf %s "$PASSWORD" | secrets put auth/administrator_password
set -eu
umask 077
cd /secrets

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# Writes standard input with mode $1 to $2: whole or not at all.
store() {
    rm -f "$2.new"
    cat > "$2.new"
    [ -s "$2.new" ] || { rm -f "$2.new"; echo "secrets: nothing came on standard input for $2" >&2; exit 2; }
    chmod "$1" "$2.new"
    mv "$2.new" "$2"
}

# postgres runs under an id of its own, and its volume is mounted nowhere else: there the mode may be open.
mode() { case $1 in postgres/*) echo 0444 ;; *) echo 0400 ;; esac; }

ensure() { [ -s "$1" ] || { store "$(mode "$1")" "$1"; echo "secrets: wrote $1"; }; }

case ${1:-ensure} in
    ensure)
        random | ensure postgres/superuser_password
        for service in auth certs audit catalog; do
            random | ensure "postgres/${service}_password"
            printf 'postgresql://%s:%s@postgres:5432/%s' "$service" "$(cat "postgres/${service}_password")" "$service" |
                ensure "$service/database_url"
        done
        random | ensure auth/administrator_password
        random | ensure auth/encryption_secret
        random | ensure certs/ca_key_passphrase
        random | ensure gateway/audit_digest_key
        # Who seals and who opens: all three have the same one.
        random | ensure gateway/auth_encryption_secret
        for service in catalog connector; do ensure "$service/auth_encryption_secret" < gateway/auth_encryption_secret; done
        ;;
    put)
        [ $# -eq 2 ] && [ -d "$(dirname "$2")" ] || { echo "secrets: put <service>/<name>" >&2; exit 2; }
        store "$(mode "$2")" "$2"
        ;;
    *)
        echo "secrets: ensure, or put <service>/<name>" >&2
        exit 2
        ;;
esac
