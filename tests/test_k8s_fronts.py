"""The manifests of front ends say what the configurations say that are run in tests/integration/fronts."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
FRONTS = DEPLOY / "k8s/fronts"
NGINX = "nginx.ingress.kubernetes.io/"
OF_CLIENTS = re.compile(r"X-SSL-Client-|X-Forwarded-Client-Cert|X-Authenticated-User|X-User-Organization|Forwarded$")

type Manifest = dict[str, Any]


def manifests() -> dict[tuple[str, str], Manifest]:
    """All of them by kind and name."""
    found: dict[tuple[str, str], Manifest] = {}
    for path in sorted(FRONTS.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "Kustomization":
                found[document["kind"], document["metadata"]["name"]] = document
    return found


def connection_manager_of_envoy() -> Manifest:
    config = yaml.safe_load((DEPLOY / "envoy/envoy.yaml").read_text())
    (clients,) = [each for each in config["static_resources"]["listeners"] if each["name"] == "clients"]
    return clients["filter_chains"][0]["filters"][0]["typed_config"]


def headers_of_nginx() -> dict[str, str]:
    """What nginx sets of the headers that speak of a client's certificate or name."""
    pairs = re.findall(
        r'^proxy_set_header (\S+) "?([^";]*)"?;', (DEPLOY / "nginx/proxy.conf").read_text(), re.MULTILINE
    )
    return {name: value for name, value in pairs if OF_CLIENTS.match(name)}


@pytest.mark.parametrize("folder", ["hop", "ingress-nginx", "istio"])
def test_every_manifest_is_applied(folder: str) -> None:
    listed = yaml.safe_load((FRONTS / folder / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in (FRONTS / folder).glob("*.yaml")} == {*listed, "kustomization.yaml"}


def test_the_ingress_sets_the_headers_that_nginx_sets() -> None:
    found = manifests()
    settings = found["ConfigMap", "ingress-nginx-controller"]["data"]
    headers = found["ConfigMap", "interlock-headers"]
    place = f"{headers['metadata']['namespace']}/{headers['metadata']['name']}"
    assert settings["proxy-set-headers"] == place
    assert settings["use-forwarded-headers"] == "false"
    assert len(headers_of_nginx()) == 8
    assert headers["data"] == headers_of_nginx()


def test_the_ingress_demands_certificates_and_verifies_the_gateway() -> None:
    annotations = manifests()["Ingress", "gateway"]["metadata"]["annotations"]
    said = {name.removeprefix(NGINX): value for name, value in annotations.items() if name.startswith(NGINX)}
    assert len(said) == len(annotations)
    expected = {
        "auth-tls-verify-client": "on", "auth-tls-secret": "mcp-system/clients-ca", "backend-protocol": "HTTPS",
        "proxy-ssl-verify": "on", "proxy-ssl-secret": "mcp-system/front-hop", "proxy-ssl-name": "gateway",
        "proxy-ssl-server-name": "on", "proxy-buffering": "off", "proxy-next-upstream": "off",
        "force-ssl-redirect": "true",
    }  # fmt: skip
    assert expected.items() <= said.items()
    assert all(isinstance(value, str) for value in said.values()), "Kubernetes takes strings only"
    assert not any("snippet" in name for name in said)


def test_istio_demands_certificates_and_verifies_the_gateway() -> None:
    found = manifests()
    servers = {server["port"]["name"]: server for server in found["Gateway", "interlock"]["spec"]["servers"]}
    assert servers["https"]["tls"]["mode"] == "MUTUAL"
    assert servers["http"]["tls"] == {"httpsRedirect": True}
    rule = found["DestinationRule", "interlock"]["spec"]
    hop = {"mode": "MUTUAL", "credentialName": "front-hop", "sni": "gateway", "subjectAltNames": ["gateway"]}
    assert rule["trafficPolicy"]["tls"] == hop
    (route,) = found["VirtualService", "interlock"]["spec"]["http"]
    assert (route["timeout"], route["retries"]) == ("0s", {"attempts": 0})
    assert route["route"][0]["destination"]["host"] == rule["host"]


def test_the_envoy_filter_says_what_envoy_says() -> None:
    found = manifests()
    spec = found["EnvoyFilter", "interlock-client-headers"]["spec"]
    assert spec["workloadSelector"]["labels"] == found["Gateway", "interlock"]["spec"]["selector"]
    (patch,) = spec["configPatches"]
    said, run = patch["patch"]["value"]["typed_config"], connection_manager_of_envoy()
    assert {"forward_client_cert_details", "early_header_mutation_extensions", "use_remote_address"} <= said.keys()
    assert {name: run.get(name) for name in said} == said


def test_the_hop_has_a_ca_of_its_own() -> None:
    found = manifests()
    for name, usage in (("gateway", "server auth"), ("front", "client auth")):
        spec = found["Certificate", f"{name}-hop"]["spec"]
        assert (spec["secretName"], spec["commonName"]) == (f"{name}-hop", name)
        assert usage in spec["usages"]
        assert found["Issuer", spec["issuerRef"]["name"]]["spec"] == {"ca": {"secretName": "hop-ca"}}
