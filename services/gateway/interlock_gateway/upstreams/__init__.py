"""Talking MCP to the servers behind the gateway."""
