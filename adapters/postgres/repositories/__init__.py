"""Repositories in PostgreSQL."""
