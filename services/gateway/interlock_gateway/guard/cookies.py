"""How every cookie of the gateway is set (RFC 6265bis)."""

from dataclasses import dataclass
from typing import Literal

from starlette.responses import Response

from interlock_common.errors import ConfigurationError

type SameSite = Literal["lax", "strict", "none"]


@dataclass(frozen=True, slots=True)
class CookieRules:
    """``secure`` cookies go over https only, and carry the prefix by which browsers hold them to it."""

    secure: bool = True
    same_site: SameSite = "lax"

    def __post_init__(self) -> None:
        if self.same_site == "none" and not self.secure:
            raise ConfigurationError("COOKIE_SAMESITE=none needs SECURE_COOKIES: browsers take no others")

    def name(self, name: str) -> str:
        """The name under which a cookie is set and read."""
        return f"__Host-{name}" if self.secure else name

    def put(self, answer: Response, name: str, value: str, *, seconds: int) -> None:
        """Set a cookie that no script reads."""
        answer.set_cookie(
            self.name(name), value, max_age=seconds, path="/", secure=self.secure, httponly=True,
            samesite=self.same_site,
        )  # fmt: skip

    def remove(self, answer: Response, name: str) -> None:
        answer.delete_cookie(self.name(name), path="/", secure=self.secure, httponly=True, samesite=self.same_site)
