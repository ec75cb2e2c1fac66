"""How the SQL between bronze and gold goes wrong: half a step, lost rows, rows that count twice."""
