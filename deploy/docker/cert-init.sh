#!/bin/sh
# Gives the front end and the gateway their certificates, then ends. Run again, it takes over what is new in /certs.
#   /certs         yours: cert.pem, and key.pem or key-encrypted.pem with KEY_FILE_PASSWORD; clients-ca.pem
#   /front-tls     what the front end reads: copies of these
#   /gateway-tls   what the gateway reads where the hop to it is TLS
#   /hop           the CA of that hop, which nobody else can read
set -eu
umask 027

# Copies $1 to $2: whole or not at all, for group 0.
hand() { cp "$1" "$2.new" && chmod 0640 "$2.new" && mv "$2.new" "$2"; }

if [ ! -e /certs/cert.pem ] && [ ! -e /certs/key.pem ] && [ ! -e /certs/key-encrypted.pem ]; then
    interlock certs front --dir /certs --days 365 ${CERT_SANS:+--san "$CERT_SANS"}
    chown "$(stat -c %u:%g /certs)" /certs/cert.pem /certs/key.pem
else
    echo "cert_init: left alone what is in certs/"
fi

key=/certs/key.pem
if [ ! -e "$key" ] && [ -e /certs/key-encrypted.pem ]; then
    # Opened in memory: no key without a passphrase comes into certs/.
    mkdir -p /tmp/opened
    cp /certs/key-encrypted.pem /certs/cert.pem /tmp/opened/
    interlock certs remove-passphrase --dir /tmp/opened
    key=/tmp/opened/key.pem
fi
for file in /certs/cert.pem "$key"; do
    [ -e "$file" ] || { echo "cert_init: $file is missing beside the rest of certs/" >&2; exit 1; }
done
interlock certs check /certs/cert.pem --key "$key" --days 0 >/dev/null ||
    { echo "cert_init: certs/cert.pem cannot be served:" >&2
      interlock certs check /certs/cert.pem --key "$key" --days 0 >&2 || exit 1; }
hand /certs/cert.pem /front-tls/cert.pem
hand "$key" /front-tls/key.pem
[ ! -e /certs/clients-ca.pem ] || hand /certs/clients-ca.pem /front-tls/clients-ca.pem

# The hop between them: its CA stays, both leaves are new at every start.
export KEY_TYPE=p256 CERT_DIR=/hop CERT_DAYS=365
interlock certs mtls --force >/dev/null
interlock certs client front --force >/dev/null
hand /hop/mtls/ca.crt /front-tls/gateway-ca.pem
hand /hop/mtls/front.pem /front-tls/proxy.pem
hand /hop/mtls/ca.crt /gateway-tls/proxies-ca.pem
hand /hop/mtls/server.key /gateway-tls/key.pem
hand /hop/mtls/server.crt /gateway-tls/cert.pem
[ ! -e /certs/clients-ca.pem ] || hand /certs/clients-ca.pem /gateway-tls/clients-ca.pem
echo "cert_init: the front end has its certificate, and the hop to the gateway its own"
