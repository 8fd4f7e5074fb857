"""Backups of a data folder, and restores."""
