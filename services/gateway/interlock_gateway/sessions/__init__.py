"""Sessions of clients of the handshake era: their streams, what they are asked, what they cancel."""
