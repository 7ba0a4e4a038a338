"""Certificates in Kubernetes: what the manifests allow, and what the script of the CronJob does with a cluster."""

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from interlock_common.testing.pki import ScratchAuthority

FOLDER = Path(__file__).resolve().parent.parent / "deploy/k8s/certificates"
SCRIPT = FOLDER / "cronjob/renew.sh"
DAYS = timedelta(days=1)

KUBECTL = """#!/bin/sh
# A cluster of files: secret, certificate.json; what is asked goes to `asked`, what is put to `replaced`.
echo "$*" >>"$CLUSTER/asked"
case "$*" in
*"get secret"*) cat "$CLUSTER/secret" ;;
*"get certificates.cert-manager.io"*) cat "$CLUSTER/certificate.json" ;;
*"replace --subresource=status"*) cat >"$CLUSTER/replaced"; exit "$(cat "$CLUSTER/conflict" 2>/dev/null || echo 0)" ;;
*) echo "unexpected: $*" >&2; exit 64 ;;
esac
"""

needs_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("jq", "openssl", "base64")), reason="needs jq and openssl"
)


@dataclass(frozen=True)
class Cluster:
    """What ``kubectl`` answers from; a missing file is a NotFound."""

    folder: Path

    def secret(self, content: bytes) -> None:
        (self.folder / "secret").write_bytes(base64.b64encode(content))

    def certificate(self, *conditions: dict[str, Any]) -> None:
        document = {
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": "gateway-tls-cert", "resourceVersion": "7", "generation": 3},
            "spec": {"secretName": "gateway-tls"},
            "status": {"revision": 5, "conditions": list(conditions)},
        }  # fmt: skip
        (self.folder / "certificate.json").write_text(json.dumps(document))

    def renew(self, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "CLUSTER": str(self.folder)}
        return subprocess.run(
            [str(SCRIPT)], env=environment | variables, capture_output=True, text=True, timeout=30, check=False
        )

    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()

    def replaced(self) -> dict[str, Any] | None:
        path = self.folder / "replaced"
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL)
    program.chmod(0o755)
    return Cluster(tmp_path)


def certificate(days: float) -> bytes:
    return ScratchAuthority().issue(dns=("gateway",), lifetime=days * DAYS)[1]


def documents(name: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((FOLDER / name).read_text()) if each]


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in documents(name) if each["kind"] == kind]


@needs_tools
def test_a_certificate_that_counts_long_enough_is_left_alone(cluster: Cluster) -> None:
    cluster.secret(certificate(31))
    done = cluster.renew()
    assert (done.returncode, cluster.replaced()) == (0, None), done.stderr
    assert "nothing to do" in done.stdout
    assert cluster.asked() == ["--namespace mcp-system get secret gateway-tls --output jsonpath={.data.tls\\.crt}"]


@needs_tools
def test_a_certificate_that_ends_soon_is_renewed_as_cmctl_does_it(cluster: Cluster) -> None:
    cluster.secret(certificate(29))
    ready = {"type": "Ready", "status": "True"}
    cluster.certificate(ready, {"type": "Issuing", "status": "False"})
    done = cluster.renew()
    assert done.returncode == 0, done.stderr
    replaced = cluster.replaced()
    assert replaced is not None
    assert replaced["metadata"]["resourceVersion"] == "7"
    assert replaced["status"]["revision"] == 5
    kept, issuing = replaced["status"]["conditions"]
    assert kept == ready
    assert (issuing["type"], issuing["status"], issuing["reason"]) == ("Issuing", "True", "ManuallyTriggered")
    assert issuing["observedGeneration"] == 3


@needs_tools
def test_a_certificate_without_a_status_is_renewed_too(cluster: Cluster) -> None:
    cluster.secret(certificate(1))
    (cluster.folder / "certificate.json").write_text('{"metadata": {"name": "gateway-tls-cert"}}')
    assert cluster.renew().returncode == 0
    replaced = cluster.replaced()
    assert replaced is not None
    assert [each["type"] for each in replaced["status"]["conditions"]] == ["Issuing"]


@needs_tools
def test_a_renewal_that_runs_is_not_asked_for_again(cluster: Cluster) -> None:
    cluster.secret(certificate(1))
    cluster.certificate({"type": "Issuing", "status": "True"})
    done = cluster.renew()
    assert (done.returncode, cluster.replaced()) == (0, None)
    assert "already" in done.stdout


@needs_tools
def test_names_days_and_namespace_are_variables(cluster: Cluster) -> None:
    cluster.secret(certificate(50))
    cluster.certificate()
    done = cluster.renew(CERT_SECRET="front", CERT_NAME="front-cert", TARGET_NAMESPACE="other", RENEW_BELOW_DAYS="60")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("--namespace other ") for line in cluster.asked())
    assert "get secret front " in cluster.asked()[0]
    assert "front-cert" in cluster.asked()[1]


@needs_tools
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "has no tls.crt, or an empty one"),
        (b"junk", "holds no certificate"),
    ],
)
def test_a_secret_that_is_missing_or_empty_fails_the_job(cluster: Cluster, content: bytes | None, said: str) -> None:
    if content is not None:
        cluster.secret(content)
    done = cluster.renew()
    assert (done.returncode, cluster.replaced()) == (1, None)
    assert said in done.stderr
    assert "mcp-system/gateway-tls" in done.stderr


@needs_tools
def test_a_renewal_that_cannot_be_asked_for_fails_the_job(cluster: Cluster) -> None:
    cluster.secret(certificate(1))
    assert "the Certificate mcp-system/gateway-tls-cert cannot be read" in cluster.renew().stderr
    cluster.certificate()
    (cluster.folder / "conflict").write_text("1")
    done = cluster.renew()
    assert done.returncode == 1
    assert "could not be asked for" in done.stderr
    assert cluster.renew(RENEW_BELOW_DAYS="30d").returncode == 1


def test_the_job_may_read_one_secret_and_update_one_certificate() -> None:
    [role] = of_kind("cronjob/rbac.yaml", "Role")
    allowed = {
        (resource, name, verb)
        for rule in role["rules"] for resource in rule["resources"] for name in rule["resourceNames"]
        for verb in rule["verbs"]
    }  # fmt: skip
    assert allowed == {
        ("secrets", "gateway-tls", "get"), ("certificates", "gateway-tls-cert", "get"),
        ("certificates/status", "gateway-tls-cert", "update"),
    }  # fmt: skip
    kinds = {each["kind"] for each in documents("cronjob/rbac.yaml")}
    assert kinds == {"ServiceAccount", "Role", "RoleBinding"}, "nothing counts beyond the namespace"
    [binding] = of_kind("cronjob/rbac.yaml", "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [each["name"] for each in binding["subjects"]] == ["certificate-renewal"]


def test_the_job_has_the_variables_and_no_rights_on_its_node() -> None:
    [job] = of_kind("cronjob/cronjob.yaml", "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["CERT_SECRET"] == "gateway-tls"
    assert variables["CERT_NAME"] == "gateway-tls-cert"
    assert variables["TARGET_NAMESPACE"] == "mcp-system"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"limits", "requests"} <= set(container["resources"])
    assert pod["serviceAccountName"] == "certificate-renewal"
    assert job["spec"]["concurrencyPolicy"] == "Forbid"


def test_every_certificate_is_renewed_before_its_end() -> None:
    found = of_kind("cert-manager/certificates.yaml", "Certificate") + of_kind(
        "cert-manager/issuers.yaml", "Certificate"
    )
    issuers = {each["metadata"]["name"] for each in of_kind("cert-manager/issuers.yaml", "Issuer")}
    assert len(found) == 5
    for each in found:
        spec = each["spec"]
        assert 0 < hours(spec["renewBefore"]) <= hours(spec["duration"]) / 3
        assert spec["issuerRef"]["name"] in issuers
        assert len(spec["commonName"]) <= 64
        if not spec.get("isCA"):
            assert hours(spec["duration"]) == 90 * 24
            assert spec["privateKey"]["rotationPolicy"] == "Always"
            assert spec["dnsNames"]


def test_the_job_and_cert_manager_mean_the_same_secret() -> None:
    [front] = [
        each for each in of_kind("cert-manager/certificates.yaml", "Certificate")
        if each["metadata"]["name"] == "gateway-tls-cert"
    ]  # fmt: skip
    assert front["spec"]["secretName"] == "gateway-tls"
    for folder in ("cronjob", "cert-manager"):
        [overlay] = documents(f"{folder}/kustomization.yaml")
        assert overlay["namespace"] == "mcp-system"
        assert {str(path.name) for path in (FOLDER / folder).glob("*.yaml")} == {
            *overlay["resources"], "kustomization.yaml",
        }  # fmt: skip


def hours(text: str) -> int:
    return int(text.removesuffix("h"))
