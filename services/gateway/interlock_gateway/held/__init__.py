"""Calls that wait for their client, and their retries."""
