"""Notes, keys and checkpoints: what is signed comes back, what was touched does not."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.transparency.note import (
    NoteInvalid,
    Signer,
    TreeHead,
    Verifier,
    open_checkpoint,
    open_note,
)

ORIGIN = "interlock/test/audit"
HEAD = TreeHead(ORIGIN, 42, bytes(range(32)))

# The example of the Go implementation (golang.org/x/mod/sumdb/note), made by other code than ours.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""


def signer(seed: int = 1, name: str = ORIGIN) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def test_a_note_that_other_code_signed_opens() -> None:
    text = open_note(GO_NOTE, Verifier.parse(GO_VKEY))
    assert text.endswith("what your problem is.\n")


def test_a_checkpoint_comes_back_as_it_was_signed() -> None:
    note = signer().sign(HEAD.text())
    assert open_checkpoint(note, Verifier.parse(str(signer().verifier))) == HEAD


@given(st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(at: int, bit: int) -> None:
    raw = bytearray(signer().sign(HEAD.text()).encode())
    raw[at % len(raw)] ^= 1 << bit
    with pytest.raises((NoteInvalid, UnicodeDecodeError)):
        open_checkpoint(raw.decode(), signer().verifier)


def test_a_note_of_another_key_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="no signature"):
        open_note(signer(2).sign(HEAD.text()), signer(1).verifier)


def test_signatures_of_witnesses_are_ignored() -> None:
    note = signer().sign(HEAD.text())
    witness = signer(3, "witness.example").sign(HEAD.text()).split("\n\n")[1]
    assert open_checkpoint(note + witness, signer().verifier) == HEAD


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    other = TreeHead("elsewhere", 42, HEAD.root)
    with pytest.raises(NoteInvalid, match="elsewhere"):
        open_checkpoint(signer().sign(other.text()), signer().verifier)


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n"])
def test_texts_that_are_no_note_are_not_signed(text: str) -> None:
    with pytest.raises(NoteInvalid):
        signer().sign(text)


@pytest.mark.parametrize(
    "text", [f"{ORIGIN}\n042\nAAAA\n", f"{ORIGIN}\n-1\nAAAA\n", f"{ORIGIN}\n1\nAAAA\n", f"{ORIGIN}\n1\n"]
)
def test_checkpoints_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        TreeHead.parse(text)


@pytest.mark.parametrize("vkey", ["", "name", "name+00000000+AAAA", f"x{GO_VKEY}", GO_VKEY.replace("c7", "c8")])
def test_keys_of_another_form_are_refused(vkey: str) -> None:
    with pytest.raises(NoteInvalid):
        Verifier.parse(vkey)
