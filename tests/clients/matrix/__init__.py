"""Clients and servers that others wrote, on the two sides of a gateway."""
