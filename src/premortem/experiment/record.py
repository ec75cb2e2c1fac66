"""The names of a run's files."""

JOURNAL = "journal.jsonl"
