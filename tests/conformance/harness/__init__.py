"""Runs the official conformance suite, directly and through the gateway."""
