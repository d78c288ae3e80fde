"""Checks that `make check` runs on revisions: rules for their SQL, and a trace of their locks."""
