"""``interlock tls diagnose``: why a TLS connection does not come about, in words."""
