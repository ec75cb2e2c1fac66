"""Find out how your Python system will fail, before its users do."""

__version__ = "0.1.0"
