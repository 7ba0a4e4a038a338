import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.sealing import SealBroken, Sealer

SEALER, OTHER = Sealer(b"a secret of the deployment"), Sealer(b"another")


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_is_sealed_opens_in_its_context(content: bytes, context: bytes) -> None:
    assert SEALER.open("cursor", SEALER.seal("cursor", content, context), context) == content


def test_the_same_content_never_looks_the_same_and_never_shows() -> None:
    first, second = SEALER.seal("cursor", b"content"), SEALER.seal("cursor", b"content")
    assert first != second
    assert "content" not in first


@pytest.mark.parametrize(
    ("sealer", "purpose", "context"),
    [(SEALER, "cursor", b"ada"), (SEALER, "credential", b"eve"), (Sealer(b"another"), "cursor", b"eve")],
    ids=["context", "purpose", "secret"],
)
def test_another_context_purpose_or_secret_opens_nothing(sealer: Sealer, purpose: str, context: bytes) -> None:
    sealed = SEALER.seal("cursor", b"content", b"eve")
    with pytest.raises(SealBroken):
        sealer.open(purpose, sealed, context)


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=20))
def test_a_name_looks_the_same_each_time_and_opens_in_its_context_alone(content: bytes, context: bytes) -> None:
    sealed = SEALER.seal_name("task", content, context)
    assert sealed == SEALER.seal_name("task", content, context)
    assert SEALER.open_name("task", sealed, context) == content
    wrong = ((SEALER, "task", context + b"x"), (SEALER, "other", context), (OTHER, "task", context))
    for sealer, purpose, where in wrong:
        with pytest.raises(SealBroken):
            sealer.open_name(purpose, sealed, where)


@given(st.text(max_size=80))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SealBroken):
        SEALER.open("cursor", text)
    with pytest.raises(SealBroken):
        SEALER.open_name("cursor", text)
