"""The embedded store: qdrant-edge in a worker process."""
