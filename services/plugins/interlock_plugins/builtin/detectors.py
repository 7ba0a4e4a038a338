"""What secrets look like. Each expression marks the secret with its first group, or is all secret without one.

Sources: the token formats as their issuers document them. Issuers add prefixes from time to time.
"""

_NAMES = (
    r"passw(?:or)?d|passwd|pwd|passphrase|secret|secret_?key|client[_-]?secret|api[_-]?key|api[_-]?token"
    r"|access[_-]?key|access[_-]?token|auth[_-]?token|refresh[_-]?token|bearer[_-]?token|private[_-]?key"
)
_QUOTE = r"""\\*["']?"""  # with a backslash where JSON stands in a string of JSON
_VALUE = r"""[^\s"'`,;&<>\\]"""

NARROW: dict[str, str] = {
    "aws_access_key_id": r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b",
    "aws_secret_access_key": r"(?i:aws.{0,20}(?:secret|access).{0,20}[=:]\s*[\"']?)([A-Za-z0-9/+=]{40})",
    "google_api_key": r"\bAIza[0-9A-Za-z_-]{35}",
    "github_token": r"\b(?:gh[opusr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{20,})",
    "gitlab_token": r"\bgl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,}",
    "slack_token": r"\b(?:xox[abceoprs]-[0-9A-Za-z-]{10,}|xapp-[0-9]-[0-9A-Za-z-]{10,})",
    "slack_webhook": r"https://hooks\.slack\.com/services/[A-Za-z0-9/_-]{20,}",
    "stripe_secret_key": r"\b(?:(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,})",
    "anthropic_api_key": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "openai_api_key": r"\bsk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,})",
    "huggingface_token": r"\bhf_[A-Za-z0-9]{30,}",
    "npm_token": r"\bnpm_[A-Za-z0-9]{36}",
    "pypi_token": r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
    "private_key_block": (
        r"(?s:-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z))"
    ),
    "jwt_like": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "bearer_header": (
        r"(?i:\bbearer\s+|\bauthorization[\"']?\s*[:=]\s*[\"']?(?:basic|token)\s+)([A-Za-z0-9+/=._~-]{16,})"
    ),
    "url_password": r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'\\]{0,64}:([^\s/@\"'\\]{3,256})@",
    "generic_api_key_assignment": rf"(?i:(?:{_NAMES}){_QUOTE}\s*=\s*{_QUOTE})({_VALUE}{{4,}})",
    # After a colon, prose is likelier than an assignment: only what has a digit or a sign counts.
    "generic_secret_field": rf"(?i:(?:{_NAMES}){_QUOTE}\s*:\s*{_QUOTE})({_VALUE}*[0-9!@#$%^*+=/~]{_VALUE}*)",
}
"""On unless switched off."""

BROAD: dict[str, str] = {
    "hex_secret_32": r"(?i:\b[a-f0-9]{32,}\b)",
    "base64_24": r"\b[A-Za-z0-9+/]{24,}={0,2}",
}
"""Off unless switched on: they also match digests, identifiers and ordinary data."""

SECRET_MEMBER = rf"(?i:(?:{_NAMES})\z)"
"""The end of a member's name that says its value is a secret."""

SECRET_MEMBER_IN_JSON = rf"(?i:(?:{_NAMES})\"\s*:\s*\")"
"""The same within raw JSON, followed by a string, to rule payloads out."""
