"""Where MCP is spoken: over HTTP, a WebSocket, plain JSON-RPC, and tunnels."""
