"""Service-account tokens as a cluster signs them, its JWKS from a real HTTPS server and from a file."""

import asyncio
import base64
import hmac
import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from interlock_certs.errors import JoinRefused, KeySetAway
from interlock_certs.jwks import KeySet, Source
from interlock_certs.kubernetes import Cluster, ServiceAccounts
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.enrolment import enrol
from interlock_common.errors import ConfigurationError
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.pki import ScratchAuthority

ISSUER, AUDIENCE = "https://kubernetes.default.svc.cluster.local", "interlock-certs"
IDENTITIES = {"interlock/auth": "auth", "interlock/edge": "nginx"}
KEYS = {"one": rsa.generate_private_key(65537, 2048), "two": rsa.generate_private_key(65537, 2048)}


def jwk(kid: str, key: Any = None, **more: Any) -> dict[str, Any]:
    public: dict[str, Any] = RSAAlgorithm.to_jwk((key or KEYS[kid]).public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig", "alg": "RS256", **more}


def claims(now: float, account: str = "interlock/auth", **changed: Any) -> dict[str, Any]:
    """What a projected token says (TokenRequest API)."""
    namespace, _, name = account.partition("/")
    said: dict[str, Any] = {
        "iss": ISSUER, "aud": [AUDIENCE], "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": int(now), "nbf": int(now), "exp": int(now) + 3600, "jti": "6f7b",
        "kubernetes.io": {
            "namespace": namespace, "serviceaccount": {"name": name, "uid": "1"}, "pod": {"name": "p", "uid": "2"},
        },
    }  # fmt: skip
    said.update(changed)
    return {name: value for name, value in said.items() if value is not None}


def signed(said: dict[str, Any], kid: str = "one", key: Any = None, algorithm: str = "RS256", **header: Any) -> str:
    return jwt.encode(said, key or KEYS[kid], algorithm, headers={"kid": kid, **header})


class ApiServer:
    """The part of a cluster's API server that answers its keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys: list[dict[str, Any]] = [jwk("one")]
        self.answer: Callable[[], web.StreamResponse] | None = None
        self.asked = 0
        self.token = "the account of certs"
        self.port = 0
        authority = ScratchAuthority("cluster")
        key, chain = authority.issue(dns=["localhost"], ips=["127.0.0.1"])
        (directory / "ca.crt").write_bytes(authority.bundle_pem)
        (directory / "server.pem").write_bytes(chain + key)
        (directory / "token").write_text(self.token + "\n")

    @property
    def cluster(self) -> Cluster:
        return Cluster(
            ISSUER, AUDIENCE, f"https://127.0.0.1:{self.port}/openid/v1/jwks", IDENTITIES,
            self.directory / "ca.crt", self.directory / "token",
        )  # fmt: skip

    async def jwks(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=403)
        return self.answer() if self.answer else web.json_response({"keys": self.keys})

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["ApiServer"]:
        app = web.Application()
        app.router.add_get("/openid/v1/jwks", self.jwks)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem")
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[ApiServer]:
    directory = tmp_path / "cluster"
    directory.mkdir()
    async with ApiServer(directory).running() as running:
        yield running


@pytest.fixture
def accounts(server: ApiServer, clock: ManualClock) -> ServiceAccounts:
    return ServiceAccounts(server.cluster, clock)


async def test_a_token_of_the_cluster_says_who_joins(accounts: ServiceAccounts, clock: ManualClock) -> None:
    assert await accounts.identity_of(signed(claims(clock.time()))) == "auth"
    assert await accounts.identity_of(signed(claims(clock.time(), "interlock/edge"))) == "nginx"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"aud": ["https://kubernetes.default.svc"]}, "not for the audience interlock-certs"),
        ({"aud": None}, "no service-account token of a pod"),
        ({"iss": "https://elsewhere"}, f"not of the issuer {ISSUER}"),
        ({"iss": None}, "no service-account token of a pod"),
        ({"exp": 1}, "has expired"),
        ({"exp": None}, "no service-account token of a pod"),
        ({"nbf": 4e9}, "does not count yet"),
        ({"iat": 1e9}, "counts for over 86400 s"),
        ({"sub": "system:serviceaccount:interlock:gateway"}, "names two accounts"),
        ({"sub": "auth"}, "names two accounts"),
        ({"kubernetes.io": None}, "no service-account token of a pod"),
        ({"kubernetes.io": {"namespace": ["interlock"]}}, "no service-account token of a pod"),
        ({"exp": "soon"}, "no service-account token of a pod"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_token_is_said(
    accounts: ServiceAccounts, clock: ManualClock, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(JoinRefused, match=why):
        await accounts.identity_of(signed(claims(clock.time(), **changed)))


@pytest.mark.parametrize("account", ["interlock/gateway", "other/auth", "interlock/auth:x"])
async def test_other_accounts_of_the_cluster_do_not_join(
    accounts: ServiceAccounts, clock: ManualClock, account: str
) -> None:
    with pytest.raises(JoinRefused, match="is no identity of KUBERNETES_IDENTITIES"):
        await accounts.identity_of(signed(claims(clock.time(), account)))


async def test_signatures_that_do_not_count_are_refused(accounts: ServiceAccounts, clock: ManualClock) -> None:
    said = claims(clock.time())
    head, body, _ = signed(said).split(".")
    nobody = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').rstrip(b"=").decode()
    symmetric = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
    mac = hmac.digest(json.dumps(jwk("one")).encode(), f"{symmetric}.{body}".encode(), "sha256")
    forged = f"{symmetric}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    for token, why in (
        (signed(said, "one", KEYS["two"]), "the signature .* is wrong"),
        (signed(said, "two"), "signed by no key of the cluster"),
        (signed(said, "one", ec.generate_private_key(ec.SECP256R1()), "ES256"), "no service-account token"),
        (forged, "no service-account token"),
        (f"{nobody}.{body}.", "no service-account token"),
        (f"{head}.{body}.AAAA", "the signature .* is wrong"),
        (jwt.encode(said, KEYS["one"], "RS256"), "names no key"),
        (signed(said, kid="one", crit=["exp"]), "no service-account token"),
        ("a" * 20_000 + "..", "over 16384 bytes"),
    ):
        with pytest.raises(JoinRefused, match=why):
            await accounts.identity_of(token)


async def test_keys_rotate(accounts: ServiceAccounts, server: ApiServer, clock: ManualClock) -> None:
    assert await accounts.identity_of(signed(claims(clock.time())))
    server.keys = [jwk("two"), jwk("one")]
    clock.advance(10)
    assert await accounts.identity_of(signed(claims(clock.time()), "two")) == "auth"
    server.keys = [jwk("two")]
    clock.advance(301)
    with pytest.raises(JoinRefused, match="signed by no key of the cluster"):
        await accounts.identity_of(signed(claims(clock.time()), "one"))
    assert server.asked == 3


async def test_unknown_keys_do_not_make_certs_ask_all_the_time(
    accounts: ServiceAccounts, server: ApiServer, clock: ManualClock
) -> None:
    attempts = [accounts.identity_of(signed(claims(clock.time()), f"key-{n}", KEYS["one"])) for n in range(30)]
    assert all(isinstance(each, JoinRefused) for each in await asyncio.gather(*attempts, return_exceptions=True))
    assert server.asked == 1


async def test_keys_are_kept_for_an_hour_while_the_cluster_is_away(
    accounts: ServiceAccounts, server: ApiServer, clock: ManualClock
) -> None:
    assert await accounts.identity_of(signed(claims(clock.time())))
    server.answer = lambda: web.Response(status=503)
    clock.advance(3000)
    assert await accounts.identity_of(signed(claims(clock.time())))
    clock.advance(1000)
    with pytest.raises(KeySetAway, match="the keys of the cluster cannot be read"):
        await accounts.identity_of(signed(claims(clock.time())))
    server.answer = None
    clock.advance(10)
    assert await accounts.identity_of(signed(claims(clock.time())))


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(body=b"nonsense"),
        lambda: web.json_response({"keys": {}}),
        lambda: web.json_response({"keys": [jwk("one")] * 65}),
        lambda: web.Response(body=b'{"keys": [' + b" " * (256 * 1024) + b"]}"),
        lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1/"}),
        lambda: web.Response(body=b'{"keys": [{"a":' + b"[" * 100_000),
    ],
)
async def test_an_answer_that_is_no_key_set_counts_as_none(
    accounts: ServiceAccounts, server: ApiServer, clock: ManualClock, answer: Any
) -> None:
    server.answer = answer
    with pytest.raises(KeySetAway):
        await accounts.identity_of(signed(claims(clock.time())))


async def test_only_public_signing_keys_of_a_set_count(server: ApiServer, clock: ManualClock) -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    server.keys = [
        {"kty": "oct", "kid": "oct", "k": "AAAA", "alg": "HS256"}, {"kty": "RSA"}, jwk("weak", weak),
        jwk("enc", KEYS["one"], use="enc"), jwk("broken", KEYS["one"], n="!"), jwk("one"),
    ]  # fmt: skip
    keys = KeySet(Source(server.cluster.keys, server.cluster.ca_file, server.cluster.token_file), clock)
    assert await keys.key("one")
    for kid in ("oct", "weak", "enc", "broken"):
        with pytest.raises(JoinRefused):
            await keys.key(kid)


async def test_the_server_of_the_keys_is_verified(server: ApiServer, clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "other.crt").write_bytes(ScratchAuthority("elsewhere").bundle_pem)
    accounts = ServiceAccounts(replace(server.cluster, ca_file=tmp_path / "other.crt"), clock)
    with pytest.raises(KeySetAway):
        await accounts.identity_of(signed(claims(clock.time())))
    assert server.asked == 0


async def test_keys_come_from_a_file_too_and_rotate_with_it(clock: ManualClock, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk("one")]}))
    accounts = ServiceAccounts(Cluster(ISSUER, AUDIENCE, str(file), IDENTITIES), clock)
    assert await accounts.identity_of(signed(claims(clock.time())))
    file.write_text(json.dumps({"keys": [jwk("two")]}))
    clock.advance(10)
    assert await accounts.identity_of(signed(claims(clock.time()), "two"))


@pytest.mark.parametrize(
    ("keys", "why"), [("http://127.0.0.1/jwks", "keys come by https only"), ("/nowhere.json", "is no file")]
)
def test_a_source_that_is_not_safe_stops_the_start(clock: ManualClock, keys: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ServiceAccounts(Cluster(ISSUER, AUDIENCE, keys, IDENTITIES), clock)


def test_a_bundle_that_is_none_stops_the_start(clock: ManualClock, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"KUBERNETES_CA_FILE .* holds no PEM certificates"):
        ServiceAccounts(Cluster(ISSUER, AUDIENCE, "https://k8s", IDENTITIES, tmp_path / "none"), clock)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 5000), change=st.text(st.characters(codec="utf-8"), max_size=4), cut=st.booleans())
async def test_a_damaged_token_is_refused_and_never_an_accident(
    accounts: ServiceAccounts, clock: ManualClock, at: int, change: str, *, cut: bool
) -> None:
    token = signed(claims(clock.time()))
    at %= len(token)
    damaged = token[:at] + change + ("" if cut else token[at + len(change) :])
    try:
        assert await accounts.identity_of(damaged) == "auth"
    except JoinRefused:
        assert damaged != token


async def test_a_pod_enrols_with_its_token_in_place_of_a_join_token(server: ApiServer, start_front: Any) -> None:
    accounts = ServiceAccounts(server.cluster, SYSTEM_CLOCK)
    async with start_front(accounts) as front:
        token = signed(claims(SYSTEM_CLOCK.time()))
        pod = front.directory / "pod"  # what is mounted into it: the projected token and the bundle
        pod.mkdir()
        (pod / "token").write_text(token)
        (pod / "bundle.pem").write_bytes(front.authority.bundle_pem)
        identity = front.identity("auth")
        await enrol(identity, front.url, pod, timeout=5)
        await enrol(identity, front.url, pod, timeout=5)  # such a token is not used up
        assert identity.is_usable()
        await enrol(front.identity("nginx"), front.url, front.directory / "join/nginx", timeout=5)
        assert "service account of this token may join as auth" in await refused(front, "nginx", token)
        stolen = signed(claims(SYSTEM_CLOCK.time(), aud=["https://kubernetes.default.svc"]))
        assert "not for the audience" in await refused(front, "auth", stolen)
        assert "names no key" in await refused(front, "auth", "a.b.c")


async def refused(front: Any, identity: str, token: str) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
    headers = {"Authorization": aiohttp.encode_basic_auth(identity, token), "Content-Type": "application/pkcs10"}
    path, body = "/.well-known/est/simpleenroll", base64.b64encode(request)
    async with front.session() as http, http.post(path, data=body, headers=headers) as response:
        assert response.status == 401
        return await response.text()
