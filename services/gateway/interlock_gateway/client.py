"""The client of one request, while the request runs: how it is told things, asked, and answered."""

from typing import Protocol


class Client(Protocol):
    """Where the messages of one request go; ``record_id`` becomes known on the way and is shown with the answer."""

    record_id: str
    size: int
    """Bytes sent so far."""

    async def notify(self, message: bytes) -> None:
        """Pass on a notification that belongs to the request."""
        ...

    async def ask(self, method: str, params: bytes) -> bytes:
        """Put a request to the client and wait for its response: a whole JSON-RPC message, id and all.

        Only clients of the handshake era can be asked; others raise RpcError.
        """
        ...

    async def answer(self, message: bytes, *, status: int = 200) -> None:
        """The response, after which nothing more comes; ``status`` is for transports that have one."""
        ...
