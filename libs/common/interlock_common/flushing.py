"""Waiting until the server has taken what a connection said."""

from nats.aio.client import Client


async def flushed(client: Client) -> None:
    """Return once the server has taken everything that was said over ``client``; raises as its ``flush``.

    ``flush`` alone writes its PING straight to the connection, ahead of the SUB and PUB that wait for the client's
    writer: its PONG says nothing of them. So the writer comes first.
    """
    await client._flush_pending(force_flush=True)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    await client.flush()
