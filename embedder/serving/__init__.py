"""The embedding engine: one owner thread per model, batches, memory limits."""
