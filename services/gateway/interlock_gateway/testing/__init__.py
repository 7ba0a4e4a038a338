"""An edge and its surroundings for tests."""
