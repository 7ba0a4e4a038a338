"""Upstreams of one era, made to look like ones of the other."""
