"""A server on the SDK, which speaks both eras."""

import os

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("both", instructions="ask me")


@server.tool()
def pid() -> int:
    """The process id."""
    return os.getpid()


@server.tool()
async def steps(count: int, context: Context) -> str:
    """Report progress."""
    for step in range(count):
        await context.report_progress(step, count)
    return "done"


if __name__ == "__main__":
    server.run("stdio")
