"""What breaks: a PostgreSQL that may be harmed, and proxies that lose what passes them."""
