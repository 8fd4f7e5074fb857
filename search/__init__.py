"""The index and the query service."""
