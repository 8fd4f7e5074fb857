"""Chunks that tile a document's text."""
