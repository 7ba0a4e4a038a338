import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.messages.plugins import HookContext
from interlock_plugins.builtin.detectors import BROAD, NARROW
from interlock_plugins.builtin.secrets_detection import SecretsDetectionConfig, SecretsDetectionPlugin
from interlock_plugins.document import Document
from interlock_plugins.errors import PluginFileRefused
from interlock_plugins.plugin import CONTINUE, Deny, Replace

REDACTING = SecretsDetectionPlugin(SecretsDetectionConfig(redact=True))
# Put together at run time, so that scanners of this repository do not take them for real ones.
SAMPLES: dict[str, str] = {
    "aws_access_key_id": "AKIA" + "IOSFODNN7EXAMPLE",
    "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    "google_api_key": "AIza" + "Sy" + "D" * 33,
    "github_token": "ghp_" + "a1B2" * 9,
    "gitlab_token": "glpat-" + "x1y2z3-AbCdEfGhIjKlM",
    "slack_token": "xoxb-" + "123456789012-abcdefABCDEF",
    "slack_webhook": "https://hooks.slack.com/services/" + "T00000000/B00000000/" + "X" * 24,
    "stripe_secret_key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "anthropic_api_key": "sk-ant-" + "api03-" + "Ab1-" * 10,
    "openai_api_key": "sk-proj-" + "Ab1_" * 12,
    "huggingface_token": "hf_" + "AbCdEfGhIj" * 4,
    "npm_token": "npm_" + "a1B2" * 9,
    "pypi_token": "pypi-" + "AgEIcHlwaS5vcmc" + "x" * 60,
    "private_key_block": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ==\nabc\n-----END EC " + "PRIVATE KEY-----",
    "jwt_like": "eyJhbGciOiJFZERTQSJ9." + "eyJzdWIiOiJhbGljZSJ9." + "c2lnbmF0dXJlLWJ5dGVz",
    "bearer_header": "mF_9.B5f-4.1JqM-abcdef",
    "url_password": "s3cr3t-pass",
    "generic_api_key_assignment": "hunter2",
    "generic_secret_field": "tr0ub4dor&3"[:9],
}
AROUND: dict[str, tuple[str, str]] = {
    "aws_secret_access_key": ("aws_secret_access_key = ", " "),
    "bearer_header": ("Authorization: Bearer ", ""),
    "url_password": ("postgres://app:", "@db/main"),
    "generic_api_key_assignment": ("DB_PASSWORD=", " "),
    "generic_secret_field": ('client_secret: "', '"'),
}


def text_with(name: str) -> tuple[str, str]:
    """A text with the secret, and the same text as it must look afterwards."""
    before, after = AROUND.get(name, ("token ", " end"))
    return f"see {before}{SAMPLES[name]}{after}!", f"see {before}[REDACTED]{after}!"


def test_every_detector_has_a_sample() -> None:
    assert set(SAMPLES) == set(NARROW)


@pytest.mark.parametrize("name", NARROW)
def test_each_kind_of_secret_is_redacted_wherever_it_stands(name: str, check: Any) -> None:
    dirty, clean = text_with(name)
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": dirty}, {"type": "text", "text": "one\ntwo"}],
        "structuredContent": {"deep": [{"er": dirty}], "n": 1.0},
    }
    outcome = check(REDACTING, json.dumps(result))
    assert isinstance(outcome, Replace)
    result["content"][0]["text"] = clean
    result["structuredContent"]["deep"][0]["er"] = clean
    assert json.loads(outcome.payload) == result
    assert SAMPLES[name] not in outcome.detail


@pytest.mark.parametrize("name", NARROW)
def test_escapes_hide_no_secret(name: str, check: Any) -> None:
    dirty, clean = text_with(name)
    escaped = '["' + "".join(f"\\u{ord(letter):04x}" for letter in dirty) + '"]'
    outcome = check(REDACTING, escaped, "tool_pre_invoke")
    assert isinstance(outcome, Replace)
    assert json.loads(outcome.payload) == [clean]


@pytest.mark.parametrize("name", NARROW)
def test_json_within_a_string_is_looked_at(name: str, check: Any) -> None:
    dirty, _ = text_with(name)
    outcome = check(REDACTING, json.dumps({"text": json.dumps({"log": dirty})}))
    assert isinstance(outcome, Replace)
    assert json.dumps(SAMPLES[name])[1:-1] not in json.loads(outcome.payload)["text"]


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox.", "password", "password: required", "reset your password at https://example.com/reset",
        "risk-assessment", "d41d8cd98f00b204e9800998ecf8427e", "bearer of news", "user@example.com",
        "https://example.com:8443/path", "AKIA", "a secret garden: the story", '\\u00e9\\n\\t\\"quoted\\"',
    ],
)  # fmt: skip
def test_a_clean_payload_is_left_alone(text: str, check: Any) -> None:
    assert check(REDACTING, f'{{ "text":"{text}", "n": 1.00 }}') is CONTINUE


@given(st.text(alphabet='abc d.,:\n"\\é{}[]', max_size=200))
def test_prose_is_never_changed(text: str) -> None:
    context = HookContext("p", "t", "u")
    assert REDACTING.check("tool_post_invoke", Document(json.dumps([text]).encode()), context) is CONTINUE


def test_members_named_like_secrets_are_redacted_in_results_only(check: Any) -> None:
    raw = '{"user":"bob","dbPassword" : "correcthorse","nested":{"api_key":"abcd"},"secret":12}'
    outcome = check(REDACTING, raw)
    assert isinstance(outcome, Replace)
    expected = raw.replace("correcthorse", "[REDACTED]").replace("abcd", "[REDACTED]")
    assert outcome.payload.decode() == expected
    assert check(REDACTING, raw, "tool_pre_invoke") is CONTINUE


def test_escapes_hide_no_member(check: Any) -> None:
    outcome = check(REDACTING, '{"pass\\u0077ord":"correct\\"horse"}')
    assert isinstance(outcome, Replace)
    assert outcome.payload == b'{"pass\\u0077ord":"[REDACTED]"}'


def test_redacting_twice_changes_nothing_more(check: Any) -> None:
    raw = json.dumps({"password": "hunter22", "text": "\n".join(text_with(name)[0] for name in NARROW)})
    outcome = check(REDACTING, raw)
    assert isinstance(outcome, Replace)
    assert check(REDACTING, outcome.payload) is CONTINUE


def test_it_denies_where_it_does_not_redact(check: Any) -> None:
    plugin = SecretsDetectionPlugin(SecretsDetectionConfig())
    outcome = check(plugin, json.dumps([text_with("github_token")[0]]), "tool_pre_invoke")
    assert isinstance(outcome, Deny)
    assert outcome.code == "SECRETS_DETECTED"
    assert "github_token" in outcome.detail
    assert SAMPLES["github_token"] not in outcome.detail + outcome.reason


def test_blocking_can_ask_for_several_findings(check: Any) -> None:
    config = SecretsDetectionConfig(redact=True, block_on_detection=True, min_findings_to_block=2)
    plugin = SecretsDetectionPlugin(config)
    token = text_with("github_token")[0]
    assert isinstance(check(plugin, json.dumps([token])), Replace)
    assert isinstance(check(plugin, json.dumps([token, token])), Deny)


def test_detectors_can_be_switched(check: Any) -> None:
    digest = json.dumps(["d41d8cd98f00b204e9800998ecf8427e"])
    plugin = SecretsDetectionPlugin(
        SecretsDetectionConfig(redact=True, enabled={"hex_secret_32": True, "github_token": False})
    )
    assert isinstance(check(plugin, digest), Replace)
    assert check(plugin, json.dumps([SAMPLES["github_token"]])) is CONTINUE
    assert set(BROAD) == {"hex_secret_32", "base64_24"}
    with pytest.raises(PluginFileRefused, match="unknown detectors: nonsense"):
        SecretsDetectionPlugin(SecretsDetectionConfig(enabled={"nonsense": True}))


def test_a_truncated_private_key_is_redacted_to_the_end(check: Any) -> None:
    raw = json.dumps(["-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg"])
    outcome = check(REDACTING, raw)
    assert isinstance(outcome, Replace)
    assert json.loads(outcome.payload) == ["[REDACTED]"]
