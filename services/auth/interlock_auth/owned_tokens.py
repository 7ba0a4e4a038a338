"""Whose token it is: one's own, or anybody's for an administrator."""

from interlock_auth.asking import Asker
from interlock_auth.errors import TokenNotFound
from interlock_auth.models import TokenRow
from interlock_auth.store import Store


def sees_all(asker: Asker, permission: str) -> bool:
    """Whether the asker may deal with everybody's tokens: an administrator whose credential is not narrowed to less."""
    return asker.principal.is_admin and asker.may(permission)


async def owned(store: Store, asker: Asker, token_id: str, permission: str) -> TokenRow:
    """The token with this id; raises TokenNotFound where the asker may not know of it either."""
    row = await store.token(token_id)
    if row is None or (row.principal != asker.name and not sees_all(asker, permission)):
        raise TokenNotFound(f"there is no token {token_id} that the actor may see")
    return row
