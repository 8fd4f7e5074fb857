"""Text to vectors: late chunking with adapters, on CPU and GPU."""
