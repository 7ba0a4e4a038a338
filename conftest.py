"""Fixtures for the whole workspace."""

from interlock_common.testing.fixtures import embedded_bus

__all__ = ["embedded_bus"]
