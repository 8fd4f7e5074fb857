"""Model files: registry, checkpoints, weights, adapters, tokenizers."""
