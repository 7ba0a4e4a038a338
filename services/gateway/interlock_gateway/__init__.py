"""The edge of Interlock: MCP, REST and the console, and the catalog of what can be reached."""
