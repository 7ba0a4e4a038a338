"""The upstream that offers everything: what the official suite calls, and what our own content tests look at."""
