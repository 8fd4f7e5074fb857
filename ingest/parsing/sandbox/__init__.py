"""Parsing in child processes with a deadline and a memory limit."""
