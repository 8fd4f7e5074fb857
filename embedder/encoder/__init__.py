"""The encoder: packed attention, windows over long documents, pooling."""
