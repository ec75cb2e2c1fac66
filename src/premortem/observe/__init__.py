"""Seeing how a system fails: what it writes down while it runs, in a form that a machine can read back."""
