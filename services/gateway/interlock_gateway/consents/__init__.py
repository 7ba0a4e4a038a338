"""Asking users for their consent to an upstream."""
