"""The galleries."""
