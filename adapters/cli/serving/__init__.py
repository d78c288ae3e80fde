"""The HTTP server of a process, and the supervisor of several."""
