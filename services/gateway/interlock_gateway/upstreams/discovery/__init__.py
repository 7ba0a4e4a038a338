"""Finding out what an upstream is, and what it offers."""
