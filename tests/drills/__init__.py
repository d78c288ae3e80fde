"""Drills: proofs by fault injection.

`python -m tests.drills NAME` starts the real service as a process on a real PostgreSQL (`service`), puts load on it
from another process (`load`), breaks something (`faults`) and compares what was acknowledged with what is stored
(`ledger`). A new drill is a module with a `Drill` and a line in `registry`.
"""
