"""Scopes and rate limits."""
