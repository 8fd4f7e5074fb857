"""The job queue: in memory, on SQLite or PostgreSQL."""
