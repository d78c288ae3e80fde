"""Output of drills: terminal, table, and HTML page with charts."""
