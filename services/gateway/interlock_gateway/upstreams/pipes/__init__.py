"""Servers at the end of a pipe: stdio, and tunnels."""
