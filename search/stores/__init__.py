"""Stores: one protocol, several engines."""
