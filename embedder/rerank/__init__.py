"""Cross-encoders that score a query with a passage."""
