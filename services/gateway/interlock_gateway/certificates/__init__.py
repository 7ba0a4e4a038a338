"""Who a client certificate is, and whether it still counts."""
