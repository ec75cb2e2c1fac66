"""Injectors: each fault is a context manager whose exit undoes it, and which says what it hit."""
