"""Connections to external systems, one package per technology."""
