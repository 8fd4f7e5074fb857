"""Generations of an index: layout on disk, switch from one to the next."""
