"""Asking and answering over the bus."""
