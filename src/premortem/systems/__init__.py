"""The reference systems: written as a user would write them, on the protective half alone."""
