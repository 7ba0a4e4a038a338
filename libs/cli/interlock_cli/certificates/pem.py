"""Finds the blocks of a PEM file (RFC 7468), in one pass over its lines, and says what a file is that has none."""

import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from interlock_cli.certificates.errors import FileUnusable

MAX_BYTES = 1024 * 1024
_MAX_BLOCKS = 1000
_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_LABEL = re.compile(r"[A-Z0-9](?:[A-Z0-9 ]{0,38}[A-Z0-9])?", re.ASCII)
_SEQUENCE = 0x30  # the first byte of DER structures
_MARKS = {b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text"}


@dataclass(frozen=True)
class Block:
    """One block: its label, and its text with both boundary lines."""

    label: str
    text: bytes

    @property
    def is_encrypted(self) -> bool:
        """As PKCS#8 says it in the label, or the older form (RFC 1421) in a header."""
        return self.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in self.text


def read_file(path: Path) -> bytes:
    """The content of a file that is not too large to be what is looked for. Raises FileUnusable."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise FileUnusable(f"{path} is larger than {MAX_BYTES // 1024} KiB: it is no certificate or key")
    return content


def blocks(content: bytes, source: object) -> list[Block]:
    """The blocks of a file. Raises FileUnusable that says what is wrong with it, named ``source``."""
    found: list[Block] = []
    open_ = list[bytes]()
    for line in map(bytes.strip, content.splitlines()):
        is_begin, is_end = line.startswith(_BEGIN) and line.endswith(_DASHES), line.startswith(_END)
        if open_ and _BEGIN in line:
            raise FileUnusable(f"{source} is damaged: a {_label(open_)} has no end before something else begins")
        if open_ or is_begin:
            open_.append(line)
        if is_begin and not _LABEL.fullmatch(_label(open_)):
            raise FileUnusable(f"{source} is damaged: a line -----BEGIN …----- does not say of what")
        if open_ and is_end:
            found.append(_closed(open_, source))
            open_ = []
    if open_:
        raise FileUnusable(f"{source} is cut off: it ends in the middle of a {_label(open_)}")
    if not found:
        raise FileUnusable(f"{source} {_what_else(content)}")
    if len(found) > _MAX_BLOCKS:
        raise FileUnusable(f"{source} holds more than {_MAX_BLOCKS} blocks")
    return found


def _label(lines: list[bytes]) -> str:
    return lines[0].removeprefix(_BEGIN).removesuffix(_DASHES).decode("ascii", "replace")


def _closed(lines: list[bytes], source: object) -> Block:
    label = _label(lines)
    if lines[-1] != _END + label.encode() + _DASHES:
        raise FileUnusable(f"{source} is damaged: a {label} ends as something else")
    return Block(label, b"\n".join(lines) + b"\n")


def _what_else(content: bytes) -> str:
    if not content.strip():
        return "is empty"
    if content[:2] in _MARKS:
        return f"is {_MARKS[content[:2]]}: save it as ASCII or UTF-8"
    if content[0] == _SEQUENCE:
        try:
            x509.load_der_x509_certificate(content)
        except ValueError:
            return "is binary (DER or PKCS#12): convert it to PEM"
        return "is a certificate in DER form: convert it to PEM with `openssl x509 -inform der`"
    return "is not PEM: there is no line -----BEGIN …-----"
