"""What may be sent: the bodies of requests, checked as far as their form goes; the owners check the rest."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from interlock_common.messages.auth import Scopes, TimeRestrictions, UsageLimits

type Name = Annotated[str, Field(min_length=1, max_length=100)]


class Body(BaseModel):
    """Fields nobody knows are passed over, as clients of other gateways send some."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_max_length=8192)


class LoginBody(Body):
    """Who logs in; no database keeps a NUL, and each would say so in its own way."""

    email: Annotated[str, Field(min_length=1, max_length=320, pattern=r"^[^\x00]*$")]
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class LimitBody(Body):
    """A limit: a field that nobody knows is refused, since passing it over would leave out the limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=8192)


class TimesBody(LimitBody):
    """When a token counts, by the clocks of a time zone (IANA): ``HH:MM``, days from ``mon`` to ``sun``."""

    days: Annotated[tuple[Name, ...], Field(max_length=7)] = ()
    start_time: Annotated[str, Field(pattern=r"^\d\d:\d\d$")] = "00:00"
    end_time: Annotated[str, Field(pattern=r"^\d\d:\d\d$")] = "24:00"
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"


class UsesBody(LimitBody):
    """How many requests a token is good for."""

    requests_per_hour: Annotated[int, Field(ge=1, le=2**31)] | None = None
    requests_per_day: Annotated[int, Field(ge=1, le=2**31)] | None = None
    requests_total: Annotated[int, Field(ge=1, le=2**31)] | None = None


class ScopesBody(LimitBody):
    """What a token is limited to."""

    server_id: Name | None = None
    permissions: Annotated[tuple[Name, ...], Field(max_length=200)] = ()
    ip_restrictions: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    time_restrictions: TimesBody | None = None
    usage_limits: UsesBody | None = None

    def scopes(self) -> Scopes:
        times, uses = self.time_restrictions, self.usage_limits
        return Scopes(
            self.server_id,
            self.permissions,
            self.ip_restrictions,
            None if times is None else TimeRestrictions(**times.model_dump()),
            None if uses is None or uses == UsesBody() else UsageLimits(**uses.model_dump()),
        )


class TokenBody(Body):
    """A token to mint: how long it lasts is given in seconds or in days."""

    name: Name
    lifetime: Annotated[int, Field(ge=1, le=10 * 365 * 86400, description="in seconds")] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    scopes: ScopesBody = ScopesBody()
    description: Annotated[str, Field(max_length=2000)] = ""
    teams: Annotated[tuple[Name, ...], Field(max_length=200)] | None = None
    principal: Annotated[str, Field(min_length=1, max_length=320, description="a service account")] | None = None
    certificate: Annotated[
        str,
        Field(
            pattern="^(this|[A-Za-z0-9_-]{43})$",
            description="the only one it may be used with: x5t#S256 (RFC 8705), or `this` for that of the connection",
        ),
    ] | None = None

    @model_validator(mode="after")
    def _one_lifetime(self) -> "TokenBody":
        if self.lifetime is not None and self.expires_in_days is not None:
            raise ValueError("give lifetime or expires_in_days, not both")
        return self

    @property
    def seconds(self) -> int:
        """How long the token lasts; a day where nothing is said."""
        return self.lifetime or (self.expires_in_days or 1) * 86400


class TokenChangesBody(Body):
    """What changes of a token; what is not named stays as it is."""

    name: Name | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None
    scopes: ScopesBody | None = None


class RevocationBody(Body):
    """Why a token is revoked."""

    reason: Annotated[str, Field(max_length=500)] = ""
