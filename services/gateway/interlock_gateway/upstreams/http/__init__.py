"""Upstreams over HTTP: streamable HTTP in both eras, and HTTP with SSE of 2024-11-05."""
