"""Writing documents to an index: commits, metadata updates, copies, rebuilds."""
