"""Documents to index: scan, parse, tile, embed, commit."""
