"""What a pipeline loses, doubles or hides when it is interrupted."""
