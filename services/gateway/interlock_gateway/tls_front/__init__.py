"""The edge as TLS terminator: what it shows, whom it asks for a certificate, and how both change while it serves."""
