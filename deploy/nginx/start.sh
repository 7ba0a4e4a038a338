#!/bin/sh
# Writes what a deployment chooses into /tmp/interlock, and becomes nginx.
#   GATEWAY=gateway:4444        where the gateway is; several, separated by spaces
#   GATEWAY_TLS=true            false: plain HTTP to the gateway, which then believes no headers
#   CLIENT_CERTIFICATES=on      optional: verified where one is shown; off: not asked for
#   NGINX_FORCE_HTTPS=true      false: 8080 serves as 8443 does, without certificates
#   HTTPS_PORT=8443             where clients reach 8443, for redirects
set -eu
umask 077
chosen=/tmp/interlock
here=$(dirname "$0")
mkdir -p "$chosen"

refuse() { echo "nginx front: $1" >&2; exit 2; }

: > "$chosen/gateway.conf"
for place in ${GATEWAY:-gateway:4444}; do
    case $place in *[!A-Za-z0-9.:_-]*) refuse "GATEWAY is host:port, not $place" ;; esac
    echo "server $place max_fails=0;" >> "$chosen/gateway.conf"
done

case ${GATEWAY_TLS:-true} in
    true) cp "$here/gateway-tls.conf" "$chosen/hop.conf" ;;
    false) echo 'proxy_pass http://gateway;' > "$chosen/hop.conf" ;;
    *) refuse "GATEWAY_TLS is true or false" ;;
esac

case ${CLIENT_CERTIFICATES:-on} in
    on | optional)
        printf 'ssl_verify_client %s;\nssl_verify_depth 2;\nssl_client_certificate /etc/interlock/tls/clients-ca.pem;\n' \
            "${CLIENT_CERTIFICATES:-on}" > "$chosen/clients.conf" ;;
    off) : > "$chosen/clients.conf" ;;
    *) refuse "CLIENT_CERTIFICATES is on, optional or off" ;;
esac

case ${HTTPS_PORT:-8443} in '' | *[!0-9]*) refuse "HTTPS_PORT is a number" ;; esac
case ${NGINX_FORCE_HTTPS:-true} in
    true) echo "return 308 https://\$host:${HTTPS_PORT:-8443}\$request_uri;" > "$chosen/plain.conf" ;;
    false)
        printf 'location / {\n    include proxy.conf;\n    include %s/hop.conf;\n}\n' "$chosen" \
            > "$chosen/plain.conf" ;;
    *) refuse "NGINX_FORCE_HTTPS is true or false" ;;
esac

# What is new in the folder of certificates is in the next handshake; open connections go on. Half of a pair is not taken.
follow() {
    served=$(cat /etc/interlock/tls/* | cksum)
    while sleep 2; do
        found=$(cat /etc/interlock/tls/* | cksum)
        [ "$found" != "$served" ] || continue
        served=$found
        nginx -q -t -c "$here/nginx.conf" && nginx -c "$here/nginx.conf" -s reload || true
    done
}
follow &

exec nginx -c "$here/nginx.conf" -g 'daemon off;'
