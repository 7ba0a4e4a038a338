"""What it costs an edge to know who calls: with a token it has seen, and with one it has not."""

import time
from dataclasses import dataclass

from interlock_gateway.authentication import Authenticator
from interlock_gateway.testing.edge import EdgeWorld

_ROUNDS = 5
_WARM = 20_000
_COLD = 2_000


@dataclass(frozen=True)
class TokenCost:
    """CPU time of one validation, in microseconds; the best of some rounds."""

    warm_us: float
    cold_us: float


def measure_tokens() -> TokenCost:
    """Validate real tokens (Ed25519, with scopes and teams) by the code that every request goes through."""
    world = EdgeWorld()
    scopes = {"permissions": ["tools.execute", "tools.read"]}
    headers = [
        b"Bearer " + world.signer.token(jti=f"t-{number}", teams=["red"], scopes=scopes).encode()
        for number in range(_COLD)
    ]
    warm = cold = float("inf")
    for _ in range(_ROUNDS):
        authenticator = world.authenticator
        cold = min(cold, _each(authenticator, headers))
        warm = min(warm, _each(authenticator, [headers[-1]] * _WARM))
    return TokenCost(warm, cold)


def _each(authenticator: Authenticator, headers: list[bytes]) -> float:
    begun = time.process_time_ns()
    for header in headers:
        authenticator.caller(header)
    return (time.process_time_ns() - begun) / len(headers) / 1000


if __name__ == "__main__":
    cost = measure_tokens()
    print(f"warm {cost.warm_us:.2f} µs, cold {cost.cold_us:.2f} µs")
