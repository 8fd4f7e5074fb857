"""Checks of an index against its records, and repair."""
