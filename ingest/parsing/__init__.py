"""Bytes to documents, each file in a process that can be killed."""
