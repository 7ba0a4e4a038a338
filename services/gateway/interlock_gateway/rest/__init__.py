"""The REST API of the edge: authenticate, ask the owner over the bus, answer."""
