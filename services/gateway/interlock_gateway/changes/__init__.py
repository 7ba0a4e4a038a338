"""What changes, and who wants to know."""
