"""Plugins: inspection and policy hooks."""
