"""The retail system: a workbook of invoices becomes rows in PostgreSQL, and every row is accounted for.

Laws:
- A file is loaded whole or not at all, and once: `read == loaded + dead`, counted by the database.
- A row that breaks a rule is kept as a dead letter with its reason; no row is dropped in silence.
- Importing this package costs nothing: `from premortem.systems.retail.ingest import ingest` brings polars and
  psycopg, `from premortem.systems.retail.sample import write_sample` writes a file of the same shape.
"""
