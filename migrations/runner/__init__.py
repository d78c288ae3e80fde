"""Applies revisions: lock, retries and phases."""
