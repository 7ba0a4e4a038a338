"""How deep JSON nests, found out without decoding it: decoders recurse."""

from itertools import accumulate

_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level in, one level out, as signed bytes
_OTHERS = bytes(byte for byte in range(256) if byte not in b'"{}[]')
_AT_ONCE = 64 * 1024


def deeper_than(document: bytes, levels: int) -> bool:
    """Whether JSON has more than ``levels`` arrays and objects in one another; anything for what is no JSON.

    In time proportional to its size, or to ``levels`` where that is less: only brackets outside strings are kept.
    """
    plain = document.replace(rb"\\", b"").replace(rb"\"", b"").translate(_STEPS, _OTHERS)
    steps = b"".join(plain.split(b'"')[::2])
    if not steps:
        return False
    steps = steps.replace(b"\x01\xff", b"")  # takes the innermost: most of what is wide, and one level of what is deep
    depth = 0
    for start in range(0, len(steps), _AT_ONCE):
        depths = list(accumulate(memoryview(steps[start : start + _AT_ONCE]).cast("b"), initial=depth))
        if max(depths) > levels - 1:
            return True
        depth = depths[-1]
    return levels < 1
