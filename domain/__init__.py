"""Entities and their rules. Standard library only: no I/O, no framework, no logger."""
