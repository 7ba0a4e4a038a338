"""What may be sent: the bodies of requests, checked as far as their form goes; the owners check the rest."""

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from interlock_common.messages.catalog import Era, Visibility

type Name = Annotated[str, Field(min_length=1, max_length=100)]
type Reference = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """Fields nobody knows are passed over, as clients of other gateways send some."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_max_length=8192)


class GatewayBody(Body):
    """An upstream MCP server to register."""

    name: Name
    url: Annotated[str, Field(min_length=1, max_length=2048, examples=["https://notes.example.com/mcp"])]
    description: Annotated[str, Field(max_length=4096)] | None = None
    visibility: Visibility = "public"
    team_id: Name | None = None
    era: Annotated[Era | None, Field(description="which era of the protocol to speak; found out if unset")] = None


class ServerBody(Body):
    """A virtual server to compose; may also come wrapped as ``{"server": {…}}``."""

    name: Name
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    description: Annotated[str, Field(max_length=4096)] | None = None
    associated_tools: Annotated[
        tuple[Reference, ...], Field(max_length=2000, description="ids of GET /tools: <upstream id>/<tool name>")
    ] = ()
    associated_upstreams: Annotated[
        tuple[Reference, ...], Field(max_length=2000, description="upstreams of which all tools are taken in")
    ] = ()
    prefix: Literal["none", "always"] = "none"
    visibility: Visibility = "public"
    team_id: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, data: Any) -> Any:
        """Some clients wrap the server and put visibility and team beside it."""
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        if not isinstance(inner := given.get("server"), dict):
            return given
        beside = {key: given[key] for key in ("visibility", "team_id") if given.get(key) is not None}
        return beside | cast("dict[str, Any]", inner)


class LoginBody(Body):
    """Who logs in."""

    email: Annotated[str, Field(min_length=1, max_length=320)]
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class ScopesBody(Body):
    """What a token is limited to."""

    server_id: Name | None = None
    permissions: Annotated[tuple[Name, ...], Field(max_length=200)] = ()


class TokenBody(Body):
    """A token to mint: how long it lasts is given in seconds or in days."""

    name: Name
    lifetime: Annotated[int, Field(ge=1, le=10 * 365 * 86400, description="in seconds")] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    scopes: ScopesBody = ScopesBody()
    teams: Annotated[tuple[Name, ...], Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_lifetime(self) -> "TokenBody":
        if self.lifetime is not None and self.expires_in_days is not None:
            raise ValueError("give lifetime or expires_in_days, not both")
        return self

    @property
    def seconds(self) -> int:
        """How long the token lasts; a day where nothing is said."""
        return self.lifetime or (self.expires_in_days or 1) * 86400


class RevocationBody(Body):
    """Why a token is revoked."""

    reason: Annotated[str, Field(max_length=500)] = ""
