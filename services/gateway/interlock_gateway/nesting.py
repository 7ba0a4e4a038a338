"""How deep JSON nests, found out without decoding it: decoders recurse."""

_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(byte for byte in range(256) if byte not in b'"{}[]')


def deeper_than(document: bytes, levels: int) -> bool:
    """Whether JSON has more than ``levels`` arrays and objects in one another; anything for what is no JSON.

    In time proportional to its size: only brackets outside strings are kept, and each round takes the innermost.
    """
    plain = document.replace(rb"\\", b"").replace(rb"\"", b"").translate(_BRACKETS, _OTHERS)
    brackets = b"".join(plain.split(b'"')[::2])
    for _ in range(levels):
        if not brackets:
            return False
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):  # nothing closes: it is no JSON, however deep
            return True
        brackets = outer
    return bool(brackets)
