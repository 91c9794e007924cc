"""Maps, figures, tables and files drawn from result tables."""
