"""Model Context Protocol: tools over HTTP."""
