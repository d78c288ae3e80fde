"""Applies revisions: one process at a time, with time limits and retries."""
