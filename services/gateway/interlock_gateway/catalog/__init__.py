"""The registry of what can be reached: upstream MCP servers, their tools, and virtual servers."""
