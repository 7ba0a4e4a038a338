"""OAuth toward upstreams: as a client of its own, for each user, and by exchange."""
