"""One data folder: settings, collections, models, owner, jobs, rebuilds, backup."""
