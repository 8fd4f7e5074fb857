"""Payloads, filters and requests shared by the embedded and the server store."""
