"""How an ingest of files into a database fails."""
