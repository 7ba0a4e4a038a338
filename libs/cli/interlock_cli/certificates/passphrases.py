"""Passphrases of keys: from a file, the environment or the terminal, never out of the arguments."""

import os
import sys
from pathlib import Path

from interlock_cli.certificates.errors import PassphraseNeeded
from interlock_cli.passwords import secret

KEY_VARIABLE = "KEY_FILE_PASSWORD"
CA_VARIABLE = "CA_KEY_PASSWORD"
_LONGEST = 1023  # OpenSSL takes no more


def find_passphrase(variable: str, file: Path | None) -> bytes | None:
    """The passphrase of ``file`` (``-`` is standard input), of the variable, or of the file that ``…_FILE`` names."""
    named = os.environ.get(f"{variable}_FILE")
    if file is not None:
        return _checked(secret("Passphrase", file), str(file))
    if value := os.environ.get(variable):
        return _checked(value, variable)
    if named:
        return _checked(secret("Passphrase", Path(named)), f"{variable}_FILE")
    return None


def passphrase(variable: str, file: Path | None, prompt: str, *, confirm: bool = False) -> bytes:
    """The passphrase, asked for where it is nowhere and somebody can be asked. Raises PassphraseNeeded."""
    found = find_passphrase(variable, file)
    if found is not None:
        return found
    if not sys.stdin.isatty():
        raise PassphraseNeeded(f"no passphrase: set {variable} or {variable}_FILE, or say --passphrase-file FILE")
    return _checked(secret(prompt, None, confirm=confirm), "the terminal")


def _checked(text: str, source: str) -> bytes:
    found = text.encode()
    if not found:
        raise PassphraseNeeded(f"the passphrase of {source} is empty")
    if len(found) > _LONGEST:
        raise PassphraseNeeded(f"the passphrase of {source} is longer than {_LONGEST} bytes")
    return found
