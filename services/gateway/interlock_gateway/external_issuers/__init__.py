"""Tokens of authorization servers of others: whether they count, and who their subjects are here."""
