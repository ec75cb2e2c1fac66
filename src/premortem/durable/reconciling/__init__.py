"""How two sides are compared: columns and their kinds, looks at a side, the drill-down, the report, the repair."""
