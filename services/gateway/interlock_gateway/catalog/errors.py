"""The errors of the catalog.

InvalidInput
├── InvalidName         a name from which no slug can be made, or over its bound
├── InvalidUrl          an address that cannot be an upstream's
├── InvalidRegistration something that an upstream of its kind cannot have
├── SecretsNotKept      secrets were given, and AUTH_ENCRYPTION_SECRET is not set
├── InvalidVisibility   team visibility without a team of the actor
├── InvalidComposition  an alias, an identifier or a number of things that a virtual server cannot have
└── UnknownReference    a virtual server refers to what the actor does not see
Conflict
├── NameTaken           a name, slug, id or resource identifier is in use
├── DefinitionChanged   what was to be accepted is another version by now
├── GrantChanged        what was to be replaced is another grant by now
└── NamesCollide        two things of a virtual server would have one public name
NotFound
├── UpstreamNotFound    it does not exist, or the actor may not know that it does
├── DefinitionNotFound  the upstream offers nothing of that kind and name
├── GrantNotFound       the principal granted nothing for that upstream
└── ServerNotFound
PermissionDenied
└── NotAllowed          the actor sees the thing and may not do this to it
"""

from interlock_common.errors import Conflict, InvalidInput, NotFound, PermissionDenied


class InvalidName(InvalidInput):
    code = "invalid_name"


class InvalidUrl(InvalidInput):
    code = "invalid_url"


class InvalidRegistration(InvalidInput):
    code = "invalid_registration"


class SecretsNotKept(InvalidInput):
    code = "secrets_not_kept"


class DefinitionChanged(Conflict):
    code = "definition_changed"


class DefinitionNotFound(NotFound):
    code = "definition_not_found"


class GrantChanged(Conflict):
    code = "grant_changed"


class GrantNotFound(NotFound):
    code = "grant_not_found"


class InvalidVisibility(InvalidInput):
    code = "invalid_visibility"


class InvalidComposition(InvalidInput):
    code = "invalid_composition"


class UnknownReference(InvalidInput):
    code = "unknown_reference"


class NameTaken(Conflict):
    code = "name_taken"


class NamesCollide(Conflict):
    code = "names_collide"


class UpstreamNotFound(NotFound):
    code = "upstream_not_found"


class ServerNotFound(NotFound):
    code = "server_not_found"


class NotAllowed(PermissionDenied):
    code = "not_allowed"
