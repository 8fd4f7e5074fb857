"""The owner of a data folder: lock, socket, and clients of the socket."""
