"""Matrix products in eight bits."""
