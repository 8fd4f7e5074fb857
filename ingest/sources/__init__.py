"""Sources: folders, remote files and archives, and what changed in them."""
