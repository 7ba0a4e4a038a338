from typing import Any

import jwt
import msgspec
import pytest

from interlock_auth.assertions import LIFETIME, Assertions
from interlock_auth.errors import AudienceRefused, NotContained
from interlock_auth.tokens import TokenRules
from interlock_common.messages.auth import MintAssertion

ELSEWHERE = "https://login.example.com/token"


@pytest.fixture
def assertions(world: Any) -> Assertions:
    return Assertions(world.engine, world.keyring, TokenRules(), world.outlet, world.clock)


async def test_an_assertion_tells_one_audience_who_somebody_is_for_a_minute(world: Any, assertions: Assertions) -> None:
    await world.add("ada@example.com")
    minted = await assertions.mint(MintAssertion("ada@example.com", ELSEWHERE))
    head = jwt.get_unverified_header(minted.token)
    key = world.outlet.buckets["signing-keys"][head["kid"]]
    claims = jwt.decode(
        minted.token, jwt.PyJWK(msgspec.json.decode(key.jwk)), algorithms=[key.algorithm], audience=ELSEWHERE,
        options={"verify_exp": False, "verify_iat": False},
    )  # fmt: skip
    now = int(world.clock.time())
    assert claims.pop("jti")
    assert claims == {
        "iss": "mcpgateway", "sub": "ada@example.com", "aud": ELSEWHERE, "iat": now, "exp": now + LIFETIME,
    }  # fmt: skip
    assert head["typ"] == "assertion+jwt"
    assert minted.expires_at == now + LIFETIME
    assert world.outlet.actions[-1][:2] == ("assertion.minted", "ada@example.com")


@pytest.mark.parametrize("audience", ["mcpgateway-api", "mcpgateway", "", "a\nb", "x" * 3000])
async def test_an_assertion_never_opens_anything_here(world: Any, assertions: Assertions, audience: str) -> None:
    await world.add("ada@example.com")
    with pytest.raises(AudienceRefused):
        await assertions.mint(MintAssertion("ada@example.com", audience))


async def test_nobody_is_vouched_for_who_is_not_active_here(world: Any, assertions: Assertions) -> None:
    await world.add("eve@example.com", active=False)
    for name in ("eve@example.com", "stranger@example.com"):
        with pytest.raises(NotContained):
            await assertions.mint(MintAssertion(name, ELSEWHERE))
