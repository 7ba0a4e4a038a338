"""What may be sent about authorization servers of others; auth checks the rest."""

from typing import Annotated

import msgspec
from pydantic import Field

from interlock_common.messages.issuers import Accounts, ClaimMapping, IssuerSettings, LoginSettings
from interlock_gateway.rest.schemas import LimitBody

type Text = Annotated[str, Field(min_length=1, max_length=512)]
type Entries = Annotated[dict[str, str], Field(max_length=256)]


class ClaimsBody(LimitBody):
    """What the claims of a token come to."""

    require: Entries = Field(default_factory=dict)
    teams_claim: str = ""
    teams: Entries = Field(default_factory=dict)
    roles_claim: str = ""
    roles: Entries = Field(default_factory=dict)
    scope_claim: str = ""


class LoginWithBody(LimitBody):
    """How people log in with it; a secret that is left out stays as it is."""

    client_id: Text
    client_secret: Annotated[str, Field(max_length=512)] = ""
    title: Annotated[str, Field(max_length=100)] = ""
    scopes: Annotated[tuple[Text, ...], Field(max_length=32)] = ("openid", "email")
    provision: bool = False
    domains: Annotated[tuple[Text, ...], Field(max_length=256)] = ()


class IssuerBody(LimitBody):
    """An authorization server in full; a field that nobody knows is refused, since it may have been a limit."""

    issuer: Text
    audiences: Annotated[tuple[Text, ...], Field(max_length=16)] = ()
    jwks_uri: Annotated[str, Field(max_length=512)] = ""
    algorithms: Annotated[tuple[Text, ...], Field(max_length=16)] = ("RS256", "ES256", "EdDSA")
    accounts: Accounts = "linked"
    administrators: bool = False
    require_access_token_type: bool = False
    max_lifetime: int = 86400
    key_grace: int = 3600
    claims: ClaimsBody = ClaimsBody()
    login: LoginWithBody | None = None

    def settings(self, name: str) -> IssuerSettings:
        said = self.model_dump(exclude={"claims", "login"})
        return IssuerSettings(
            name=name, **said, claims=msgspec.convert(self.claims.model_dump(), ClaimMapping),
            login=None if self.login is None else msgspec.convert(self.login.model_dump(), LoginSettings),
        )  # fmt: skip


class IdentityBody(LimitBody):
    """Whose subject of the issuer is to be whom."""

    subject: Annotated[str, Field(min_length=1, max_length=255)]
    principal: Annotated[str, Field(min_length=1, max_length=320)]
