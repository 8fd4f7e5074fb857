"""Every way in: settings, HTTP, command line."""
