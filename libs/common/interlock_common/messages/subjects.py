"""Every subject of the bus, each named once.

``svc.<service>.<noun>.<verb>``    request and reply, answered by the queue group ``<service>``
``evt.<service>.<noun>.<happened>`` events, kept by the stream EVENTS
``audit.<service>``                batches of audit records, kept by the stream AUDIT
``mcp.<…>``                        MCP messages on their way: between edges, connectors, workers
``revocation.<…>``                 what keeps the edges in step with what auth revoked
``limits.<…>``                     what edges tell each other about the use of rate limits
"""

# auth
AUTH_LOGIN = "svc.auth.session.login"
AUTH_TOKEN_CREATE = "svc.auth.token.create"  # noqa: S105 - a subject, not a password
AUTH_TOKEN_LIST = "svc.auth.token.list"  # noqa: S105
AUTH_TOKEN_REVOKE = "svc.auth.token.revoke"  # noqa: S105
AUTH_TOKEN_GET = "svc.auth.token.get"  # noqa: S105
AUTH_TOKEN_UPDATE = "svc.auth.token.update"  # noqa: S105
AUTH_TOKEN_USAGE = "svc.auth.token.usage"  # noqa: S105
AUTH_CREDENTIAL_USED = "svc.auth.credential.used"
AUTH_CREDENTIAL_REPORT = "svc.auth.credential.report"
AUTH_TOKEN_USED = "svc.auth.token.used"  # noqa: S105
AUTH_TOKEN_ASSERTION = "svc.auth.token.assertion"  # noqa: S105
AUTH_REVOCATION_CREATE = "svc.auth.revocation.create"
AUTH_REVOCATION_READ = "svc.auth.revocation.read"
AUTH_KEY_ROTATE = "svc.auth.key.rotate"
AUTH_USER_CREATE = "svc.auth.user.create"
AUTH_USER_LIST = "svc.auth.user.list"
AUTH_USER_GET = "svc.auth.user.get"
AUTH_USER_UPDATE = "svc.auth.user.update"
AUTH_USER_DELETE = "svc.auth.user.delete"
AUTH_USER_REGISTER = "svc.auth.user.register"
AUTH_PASSWORD_CHANGE = "svc.auth.password.change"  # noqa: S105
AUTH_PASSWORD_RESET = "svc.auth.password.reset"  # noqa: S105
AUTH_TEAM_CREATE = "svc.auth.team.create"
AUTH_TEAM_LIST = "svc.auth.team.list"
AUTH_TEAM_GET = "svc.auth.team.get"
AUTH_TEAM_UPDATE = "svc.auth.team.update"
AUTH_TEAM_DELETE = "svc.auth.team.delete"
AUTH_MEMBER_LIST = "svc.auth.member.list"
AUTH_MEMBER_SET = "svc.auth.member.set"
AUTH_MEMBER_REMOVE = "svc.auth.member.remove"
AUTH_INVITATION_CREATE = "svc.auth.invitation.create"
AUTH_INVITATION_LIST = "svc.auth.invitation.list"
AUTH_INVITATION_WITHDRAW = "svc.auth.invitation.withdraw"
AUTH_INVITATION_ACCEPT = "svc.auth.invitation.accept"
AUTH_ROLE_LIST = "svc.auth.role.list"
AUTH_ROLE_CREATE = "svc.auth.role.create"
AUTH_ROLE_UPDATE = "svc.auth.role.update"
AUTH_ROLE_DELETE = "svc.auth.role.delete"
AUTH_ROLE_ASSIGN = "svc.auth.role.assign"
AUTH_ROLE_WITHDRAW = "svc.auth.role.withdraw"
AUTH_OAUTH_REGISTER = "svc.auth.oauth.register"
AUTH_OAUTH_CLIENTS = "svc.auth.oauth.clients"
AUTH_OAUTH_UNREGISTER = "svc.auth.oauth.unregister"
AUTH_OAUTH_LOGIN = "svc.auth.oauth.login"
AUTH_OAUTH_LOGOUT = "svc.auth.oauth.logout"
AUTH_OAUTH_AUTHORIZE = "svc.auth.oauth.authorize"
AUTH_OAUTH_TOKEN = "svc.auth.oauth.token"  # noqa: S105
AUTH_OAUTH_REVOKE = "svc.auth.oauth.revoke"
AUTH_OAUTH_INTROSPECT = "svc.auth.oauth.introspect"
AUTH_PROVIDER_START = "svc.auth.provider.start"
AUTH_PROVIDER_FINISH = "svc.auth.provider.finish"
AUTH_ISSUER_SET = "svc.auth.issuer.set"
AUTH_ISSUER_LIST = "svc.auth.issuer.list"
AUTH_ISSUER_GET = "svc.auth.issuer.get"
AUTH_ISSUER_DELETE = "svc.auth.issuer.delete"
AUTH_ISSUER_REFRESH = "svc.auth.issuer.refresh"
AUTH_ISSUER_KEY_WANTED = "svc.auth.issuer.key-wanted"
AUTH_IDENTITY_LINK = "svc.auth.identity.link"
AUTH_IDENTITY_UNLINK = "svc.auth.identity.unlink"
AUTH_IDENTITY_LIST = "svc.auth.identity.list"

# catalog
CATALOG_UPSTREAM_CREATE = "svc.catalog.upstream.create"
CATALOG_UPSTREAM_LIST = "svc.catalog.upstream.list"
CATALOG_UPSTREAM_GET = "svc.catalog.upstream.get"
CATALOG_UPSTREAM_UPDATE = "svc.catalog.upstream.update"
CATALOG_UPSTREAM_DELETE = "svc.catalog.upstream.delete"
CATALOG_UPSTREAM_REFRESH = "svc.catalog.upstream.refresh"
CATALOG_SERVER_CREATE = "svc.catalog.server.create"
CATALOG_SERVER_LIST = "svc.catalog.server.list"
CATALOG_SERVER_GET = "svc.catalog.server.get"
CATALOG_SERVER_UPDATE = "svc.catalog.server.update"
CATALOG_SERVER_DELETE = "svc.catalog.server.delete"
CATALOG_DEFINITION_ACCEPT = "svc.catalog.definition.accept"
CATALOG_GRANT_STORE = "svc.catalog.grant.store"
CATALOG_GRANT_CLAIM = "svc.catalog.grant.claim"
CATALOG_GRANT_LIST = "svc.catalog.grant.list"
CATALOG_GRANT_REVOKE = "svc.catalog.grant.revoke"

# plugins
PLUGINS_HOOK_RUN = "svc.plugins.hook.run"
PLUGINS_PLUGIN_LIST = "svc.plugins.plugin.list"

# certs: the last token is the identity that renews or confirms; the bus lets each service publish only its own
CERTS_LEAF_RENEW = "svc.certs.leaf.renew"
CERTS_LEAF_LIST = "svc.certs.leaf.list"
CERTS_LEAF_REVOKE = "svc.certs.leaf.revoke"
CERTS_IDENTITY_REVOKE = "svc.certs.identity.revoke"
CERTS_IDENTITY_REINSTATE = "svc.certs.identity.reinstate"
CERTS_AUTHORITY_STATUS = "svc.certs.authority.status"
CERTS_AUTHORITY_ROTATE = "svc.certs.authority.rotate"
CERTS_CERTIFICATE_SUCCEED = "svc.certs.certificate.succeed"
CERTS_TRUST_CONFIRM = "svc.certs.trust.confirm"


def leaf_renew(service: str) -> str:
    """The one renewal subject that ``service`` may publish."""
    return f"{CERTS_LEAF_RENEW}.{service}"


def trust_confirm(service: str) -> str:
    """The one subject on which ``service`` may say which trust bundle it uses."""
    return f"{CERTS_TRUST_CONFIRM}.{service}"


# audit
AUDIT_RECORD_LIST = "svc.audit.record.list"
AUDIT_RECORD_GET = "svc.audit.record.get"
AUDIT_CHECKPOINT_GET = "svc.audit.checkpoint.get"
AUDIT_PROOF_INCLUSION = "svc.audit.proof.inclusion"
AUDIT_PROOF_CONSISTENCY = "svc.audit.proof.consistency"
AUDIT_BATCHES = "audit.>"


def audit_batch(service: str) -> str:
    """Where ``service`` publishes its batches of audit records."""
    return f"audit.{service}"


# events
EVT_TOKEN_REVOKED = "evt.auth.token.revoked"  # noqa: S105
EVT_SELECTOR_REVOKED = "evt.auth.selector.revoked"
EVT_KEY_ROTATED = "evt.auth.key.rotated"
EVT_LEAF_ISSUED = "evt.certs.leaf.issued"
EVT_LEAF_REVOKED = "evt.certs.leaf.revoked"
EVT_LEAF_REFUSED = "evt.certs.leaf.refused"
EVT_LEAF_EXPIRING = "evt.certs.leaf.expiring"
EVT_AUTHORITY_ROTATED = "evt.certs.authority.rotated"
EVT_UPSTREAM_CHANGED = "evt.catalog.upstream.changed"
EVT_CHECKPOINT_SIGNED = "evt.audit.checkpoint.signed"
EVENTS = "evt.>"


# auth and the edges, about revocations
REVOCATION_HEARTBEAT = "revocation.heartbeat"
REVOCATION_CONFIRMED = "revocation.confirmed"


# edges among themselves
LIMITS_USAGE = "limits.usage"

# MCP between edges, connectors and workers
MCP_CANCEL = "mcp.cancel"
MCP_SESSIONS = "mcp.session.>"
MCP_CHANGED = "mcp.changed.*"


def session_stream(session: str, stream: str) -> str:
    """The messages of one stream of a session of the handshake era, in their order; kept by the stream SESSIONS."""
    return f"mcp.session.{session}.{stream}"


def edge(instance: str, verb: str) -> str:
    """What only one edge can do: ``answer`` takes a client's answer, ``resume`` goes on with a call it holds."""
    return f"mcp.edge.{instance}.{verb}"


def exchange(instance: str) -> str:
    """What is said to exchanges that run at ``instance``."""
    return f"mcp.exchange.{instance}"


def connector(upstream_id: str) -> str:
    """Calls to an upstream that a connector runs, or that an edge holds the tunnel to."""
    return f"mcp.connector.{upstream_id}"


def worker(name: str) -> str:
    """Calls to a worker: any process that answers here is an upstream."""
    return f"mcp.worker.{name}"


def changed(upstream_id: str) -> str:
    """Notifications of an upstream that belong to no request: list_changed, resources/updated."""
    return f"mcp.changed.{upstream_id}"


def inbox_prefix(service: str) -> str:
    """The inbox prefix of a service: only it may subscribe below it, so nobody reads its replies."""
    return f"_INBOX_{service.replace('-', '_')}"
