#!/bin/sh
# Looks at the certificate of a front end and has cert-manager renew it when it ends soon. Needs kubectl, jq, openssl.
#
#   CERT_SECRET        the Secret with tls.crt                        gateway-tls
#   CERT_NAME          the cert-manager Certificate that fills it     gateway-tls-cert
#   TARGET_NAMESPACE   where both are                                 mcp-system
#   RENEW_BELOW_DAYS   renewed with fewer days left than that         30
#
# Exit code 1 where there is nothing to look at, or the renewal could not be asked for: the Job fails, and is alerted on.
set -eu

secret=${CERT_SECRET:-gateway-tls}
certificate=${CERT_NAME:-gateway-tls-cert}
namespace=${TARGET_NAMESPACE:-mcp-system}
days=${RENEW_BELOW_DAYS:-30}

fail() {
    echo "error: $*" >&2
    exit 1
}

case $days in '' | *[!0-9]*) fail "RENEW_BELOW_DAYS is no number of days: $days" ;; esac

encoded=$(kubectl --namespace "$namespace" get secret "$secret" --output 'jsonpath={.data.tls\.crt}') ||
    fail "the Secret $namespace/$secret cannot be read"
[ -n "$encoded" ] || fail "the Secret $namespace/$secret has no tls.crt, or an empty one"
pem=$(printf '%s' "$encoded" | base64 -d) || fail "tls.crt of $namespace/$secret is no base64"
end=$(printf '%s\n' "$pem" | openssl x509 -noout -enddate) || fail "tls.crt of $namespace/$secret holds no certificate"
end=${end#notAfter=}

if printf '%s\n' "$pem" | openssl x509 -noout -checkend $((days * 86400)) >/dev/null; then
    echo "$namespace/$secret counts until $end: nothing to do"
    exit 0
fi
echo "$namespace/$secret counts until $end, that is less than $days days: $certificate is to be renewed"

object=$(kubectl --namespace "$namespace" get certificates.cert-manager.io "$certificate" --output json) ||
    fail "the Certificate $namespace/$certificate cannot be read"
if printf '%s' "$object" | jq --exit-status 'any(.status.conditions[]?; .type == "Issuing" and .status == "True")' \
    >/dev/null; then
    echo "$namespace/$certificate is being renewed already"
    exit 0
fi

# The condition Issuing is how `cmctl renew` asks for it. The resourceVersion goes along: if somebody else changed the
# object in between, the answer is a conflict and the next run looks again.
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
printf '%s' "$object" | jq --arg now "$now" '
    .metadata.generation as $generation
    | .status.conditions = [(.status.conditions // [])[] | select(.type != "Issuing")] + [{
        type: "Issuing", status: "True", reason: "ManuallyTriggered", lastTransitionTime: $now,
        message: "renewed because it ends soon", observedGeneration: $generation}]' |
    kubectl --namespace "$namespace" replace --subresource=status --filename - >/dev/null ||
    fail "the renewal of $namespace/$certificate could not be asked for"
echo "asked cert-manager to renew $namespace/$certificate"
