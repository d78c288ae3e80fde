"""Fault injection: a disposable PostgreSQL, and proxies that drop messages."""
