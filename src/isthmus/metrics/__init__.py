"""How large the gap is, of what kind, and what is suspicious about the rows."""
