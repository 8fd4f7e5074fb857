"""Is it any good: judged data, metrics, ablations and settings chosen with proof."""
