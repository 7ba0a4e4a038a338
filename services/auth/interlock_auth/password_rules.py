"""Which passwords may be set; those that exist are not judged again."""

import re
from dataclasses import dataclass

from interlock_auth.errors import PasswordRefused
from interlock_auth.passwords import MAX_PASSWORD_LENGTH

_WELL_KNOWN = frozenset({
    "abc", "adminadmin", "administrator", "baseball", "changeit", "changeme", "computer", "dragon", "football",
    "iloveyou", "interlock", "letmein", "mcpgateway", "monkey", "p@ssw0rd", "p@ssword", "passw0rd", "password",
    "passwort", "princess", "qwerty", "qwertyui", "qwertyuiop", "secret", "starwars", "sunshine", "superman",
    "trustno", "welcome", "whatever", "zaq12wsx", "1q2w3e4r", "1q2w3e4r5t", "1qaz2wsx", "qwer1234", "q1w2e3r4",
})  # fmt: skip
"""What guessers try first, without the digits and signs that people add at the end."""
_COUNTED = ("012345678901234567890", "9876543210")
_ADDED = re.compile(r"[\d\W_]+$")
_FEWEST_DIFFERENT = 4
_SHORTEST_NAME = 4


@dataclass(frozen=True)
class PasswordRules:
    """At least ``min_length`` characters, with those classes of characters that are asked for."""

    min_length: int = 8
    uppercase: bool = False
    lowercase: bool = False
    numbers: bool = False
    special: bool = False

    def check(self, password: str, name: str) -> None:
        """Raise PasswordRefused, naming every rule that a new password of ``name`` breaks."""
        if len(password) > MAX_PASSWORD_LENGTH:
            raise PasswordRefused(f"a password has at most {MAX_PASSWORD_LENGTH} characters")
        asked = (
            (len(password) >= self.min_length, f"have at least {self.min_length} characters"),
            (not self.uppercase or any(map(str.isupper, password)), "have an upper-case letter"),
            (not self.lowercase or any(map(str.islower, password)), "have a lower-case letter"),
            (not self.numbers or any(map(str.isdigit, password)), "have a digit"),
            (not self.special or not password.isalnum(), "have a character that is neither letter nor digit"),
            (not _tells(password, name), "not contain the name it is for"),
            (not _well_known(password), "not be one that everybody tries first"),
        )
        broken = [rule for kept, rule in asked if not kept]
        if broken:
            raise PasswordRefused(f"a password must {', and '.join(broken)}", rules=broken)


def _tells(password: str, name: str) -> bool:
    """Whether the password is the name, or has it, or what stands before its ``@``, in it."""
    lower, local = password.lower(), name.partition("@")[0].lower()
    return name.lower() in lower or (len(local) >= _SHORTEST_NAME and local in lower)


def _well_known(password: str) -> bool:
    lower = password.lower()
    bare = _ADDED.sub("", lower)
    few = len(set(lower)) < _FEWEST_DIFFERENT
    return few or lower in _WELL_KNOWN or bare in _WELL_KNOWN or any(lower in row for row in _COUNTED)
