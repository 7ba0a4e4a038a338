"""What stands before every endpoint of the edge: addresses, rate limits, origins and headers."""
